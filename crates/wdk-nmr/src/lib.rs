//! Safe Network Module Registrar providers and clients.
#![no_std]
