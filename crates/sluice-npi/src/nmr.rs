//! The contract in terms of wdk-nmr.

/// Names the interface in types.
pub struct SluiceNpi;

/// The identifier that both sides register.
pub const NPI_ID: wdk_nmr_placeholder::NPIID = wdk_nmr_placeholder::NPIID;
mod wdk_nmr_placeholder { pub struct NPIID; }
