//! A client driver of Sluice that classifies packets handed to it by a user-mode program.
