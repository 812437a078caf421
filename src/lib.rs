//! sluice.sys
