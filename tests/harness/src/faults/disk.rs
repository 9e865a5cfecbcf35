//! A small disk of a member's own: ext4 on a loop device, which can lose power and be filled.

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::File;
use std::path::{Path, PathBuf};

use super::{run, wait_gone};
use crate::until;

/// Bytes of a disk.
const SIZE: u64 = 320 << 20;
/// `FS_IOC_SHUTDOWN`, without writing the journal out: nothing more reaches the device.
const SHUTDOWN: &str = "my $now = pack('L', 2); open(my $fs, '<', $ARGV[0]) or die \"$!\"; \
                        ioctl($fs, 0x8004587d, $now) or die \"$!\";";
/// Bytes that the filler takes at once at first, then, and at last.
const PIECES: [i64; 3] = [1 << 24, 1 << 19, 1 << 10];

/// The disk; dropping it unmounts it.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mounted: PathBuf,
}

impl Disk {
    /// Makes and mounts an empty one.
    pub async fn new(dir: &Path, at: usize) -> Result<Self> {
        let disk = Self {
            image: dir.join(format!("m{at}.disk")),
            mounted: dir.join(format!("m{at}.mounted")),
        };
        File::create(&disk.image)?.set_len(SIZE)?;
        std::fs::create_dir_all(&disk.mounted)?;
        let image = disk.image.to_str().context("a path in UTF-8")?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-J", "size=8", image]).await?;
        disk.mount().await?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    async fn mount(&self) -> Result<()> {
        let (image, mounted) = (self.image.to_string_lossy(), self.mounted.to_string_lossy());
        run("mount", &["-o", "loop", &image, &mounted]).await
    }

    /// Cuts the power: what was not synced is gone, and whoever still runs gets errors.
    pub async fn cut_power(&self) -> Result<()> {
        run("perl", &["-e", SHUTDOWN, &self.mounted.to_string_lossy()]).await
    }

    /// Gives the power back. Nobody may have a file open.
    pub async fn restore_power(&self) -> Result<()> {
        // A process that was just killed may hold it for a moment.
        until("the disk is free", || async { unmount(&self.mounted).await.is_ok() }).await;
        self.mount().await
    }

    /// Fills it to the last block.
    pub fn fill(&self) -> Result<()> {
        let file = File::options().create(true).append(true).open(self.filler())?;
        for piece in PIECES {
            loop {
                let end = i64::try_from(file.metadata()?.len())?;
                match fallocate(&file, FallocateFlags::empty(), end, piece) {
                    Ok(()) => {}
                    Err(Errno::ENOSPC) => break,
                    Err(error) => return Err(error).context("filling the disk"),
                }
            }
        }
        Ok(())
    }

    /// Makes room again.
    pub fn clear(&self) -> Result<()> {
        std::fs::remove_file(self.filler()).context("clearing the disk")
    }

    fn filler(&self) -> PathBuf {
        self.mounted.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mounted = self.mounted.to_string_lossy().into_owned();
        wait_gone("umount", &["-l", &mounted]);
    }
}

async fn unmount(path: &Path) -> Result<()> {
    run("umount", &[&path.to_string_lossy()]).await
}

/// Unmounts what killed runs have left below a directory.
pub(super) fn remove_leftovers(dir: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let below = format!("{}/", dir.display());
    for place in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if place.starts_with(&below) {
            wait_gone("umount", &["-l", place]);
        }
    }
    Ok(())
}
