//! A netio.sys for Wine: the registrar on kernel primitives, and import hooks.
