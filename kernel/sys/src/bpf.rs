//! The two bpf(2) commands the device filter of cgroup v2 needs: load a program, attach it to a cgroup.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `BPF_PROG_LOAD` of `linux/bpf.h`.
const PROG_LOAD: libc::c_int = 5;
/// `BPF_PROG_ATTACH`.
const PROG_ATTACH: libc::c_int = 8;
/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const TYPE_CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE`, the attach type.
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: programs of the cgroups above apply as well.
const ALLOW_MULTI: u32 = 1 << 1;

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest as zero.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The start of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

const _: () = assert!(size_of::<LoadAttr>() == 64 && size_of::<AttachAttr>() == 16);

/// Loads a program that decides about device access (`BPF_PROG_TYPE_CGROUP_DEVICE`); each instruction is a
/// `struct bpf_insn` in the machine's byte order. Errors: `bpf(2)`.
pub fn load_cgroup_device_program(instructions: &[u64]) -> io::Result<OwnedFd> {
    let attr = LoadAttr {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        insns: instructions.as_ptr().addr() as u64,
        license: c"Apache".as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"tare_devices\0\0\0\0",
    };
    let fd = bpf(PROG_LOAD, &attr)?;
    // SAFETY: a successful BPF_PROG_LOAD returns a new descriptor (close-on-exec) that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device program to a cgroup v2 directory; it stays attached when the program's descriptor is closed and
/// goes with the cgroup.
pub fn attach_cgroup_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attr = AttachAttr {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &attr).map(drop)
}

fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<i32> {
    // SAFETY: `attr` is one of the two `repr(C)` structs above, valid for reads of its size; the kernel reads the
    // instructions and the licence through the pointers in it during the call only, and writes nothing (no log buffer).
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `r0 = 1; exit`
    const ALLOW_ALL: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];

    #[test]
    fn the_verifier_accepts_a_program_and_refuses_nonsense() {
        load_cgroup_device_program(&ALLOW_ALL).unwrap();
        let error = load_cgroup_device_program(&[0]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn attaching_needs_a_cgroup() {
        let program = load_cgroup_device_program(&ALLOW_ALL).unwrap();
        let directory = std::fs::File::open("/").unwrap();
        let error =
            attach_cgroup_device_program(std::os::fd::AsFd::as_fd(&directory), std::os::fd::AsFd::as_fd(&program));
        assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
