//! Runs drivers in Wine: prefix, sc.exe, logs.
