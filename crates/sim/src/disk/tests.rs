use super::*;

fn written(disk: &SimDisk) -> Arc<dyn DiskFile> {
    let file = disk.mount().open("a").unwrap();
    file.write_at(0, b"synced").unwrap();
    file.sync().unwrap();
    file.write_at(6, b" and not").unwrap();
    file
}

fn content(disk: &SimDisk) -> Vec<u8> {
    let file = disk.mount().open("a").unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote() {
    let disk = SimDisk::default();
    written(&disk);
    disk.unmount();
    assert_eq!(content(&disk), b"synced and not");
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::default();
        written(&disk);
        disk.power_cut(&mut Rng::new(seed, "disk"));
        let bytes = content(&disk);
        assert!(bytes.starts_with(b"synced") && b"synced and not".starts_with(&bytes));
        lengths.insert(bytes.len());
    }
    assert!(lengths.contains(&6) && lengths.contains(&14) && lengths.len() > 3, "{lengths:?}");
}

#[test]
fn the_dead_write_nothing() {
    let disk = SimDisk::default();
    let file = written(&disk);
    disk.unmount();
    assert!(file.write_at(0, b"ghost").is_err());
    assert!(file.sync().is_err());
    assert_eq!(content(&disk), b"synced and not");
}

#[test]
fn a_full_disk_refuses_and_takes_again_when_there_is_room() {
    let disk = SimDisk::default();
    let file = written(&disk);
    disk.set_free(Some(3));
    assert_eq!(file.write_at(14, b"four").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 17, "what fits of the write is there");
    file.write_at(14, b"abc").unwrap();
    disk.set_free(None);
    file.write_at(17, b"four").unwrap();
}

#[test]
fn a_forgotten_sync_is_found_out_by_a_power_cut() {
    let lost = (0..50).any(|seed| {
        let disk = SimDisk::default();
        disk.forget_syncs();
        written(&disk);
        disk.power_cut(&mut Rng::new(seed, "disk"));
        !content(&disk).starts_with(b"synced")
    });
    assert!(lost);
}
