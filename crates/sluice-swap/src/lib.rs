//! A value that is replaced while any number of processors read it without waiting.
