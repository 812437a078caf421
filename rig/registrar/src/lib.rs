//! A complete, strict Network Module Registrar for testing NMR code.
