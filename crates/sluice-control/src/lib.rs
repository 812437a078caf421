//! The device control contract between sluice.sys, probe.sys and sluicectl.
