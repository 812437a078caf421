//! What the driver knows, for any host.
#![no_std]

/// The characters of a path behind its last separator.
pub fn last_part(path: &[u16]) -> &[u16] {
    path.rsplit(|unit| *unit == u16::from(b'\\')).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_last_part_of_a_path_is_its_name() {
        let path: [u16; 3] = [b'a', b'\\', b'b'].map(u16::from);
        assert_eq!(super::last_part(&path), [u16::from(b'b')]);
    }
}
