//! Variables of this process's environment.

use std::ffi::OsStr;

use rustix::io::Errno;

/// Sets variables, for this process and those that it starts. Errors: `EBUSY` when there is another thread, which might
/// look at the environment at the same moment; so it is for the beginning of a program.
pub fn set_alone(variables: &[(&str, &OsStr)]) -> Result<(), Errno> {
    let threads =
        std::fs::read_dir("/proc/self/task").map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    if threads?.count() != 1 {
        return Err(Errno::BUSY);
    }
    if variables.iter().any(|(name, value)| !is_name(name) || value.as_encoded_bytes().contains(&0)) {
        return Err(Errno::INVAL);
    }
    for (name, value) in variables {
        // SAFETY: this is the process's only thread, as was just seen, and it makes no other here: nobody reads or
        // writes the environment meanwhile. Name and value are such as `set_var` takes.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests run on threads of their own.
    #[test]
    fn not_beside_others() {
        assert_eq!(set_alone(&[("TARE_NOT_SET", OsStr::new("1"))]), Err(Errno::BUSY));
        assert_eq!(std::env::var_os("TARE_NOT_SET"), None);
        assert!(is_name("A") && !is_name("") && !is_name("A=B") && !is_name("A\0"));
    }
}
