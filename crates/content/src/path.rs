//! Names that are accepted from strangers: nothing is ever written outside the target
//! directory, on any system.

/// Bytes of one name: the limit of common file systems.
const NAME_BYTES_MAX: usize = 255;
// Linux takes paths of 4,095 bytes: most of that is left for the directory.
/// Bytes of a path below a directory.
pub const PATH_BYTES_MAX: usize = 1_024;
// Attack: one path of a stranger's manifest makes the node create directories without end.
const DEPTH_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("an empty name")]
    Empty,
    #[error("a name of more than {NAME_BYTES_MAX} bytes, or a path of more than {PATH_BYTES_MAX}")]
    TooLong,
    #[error("{0:?} would leave the target directory")]
    Escapes(String),
    #[error("{0:?} has a character that no file name should have")]
    Character(String),
    #[error("a path of more than {DEPTH_MAX} directories")]
    TooDeep,
}

/// Whether this may be the name of one file.
pub(crate) fn check_name(name: &str) -> Result<(), PathError> {
    // On Windows a backslash separates directories, and a colon names a drive or a stream.
    // Control characters in a name can drive the terminal that lists it.
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    match name {
        "" => Err(PathError::Empty),
        "." | ".." => Err(PathError::Escapes(name.into())),
        _ if name.len() > NAME_BYTES_MAX => Err(PathError::TooLong),
        _ if name.contains(odd) => Err(PathError::Character(name.into())),
        _ => Ok(()),
    }
}

/// Whether this is a relative path that stays below its directory.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(path: &str) -> Result<(), PathError> {
    if path.starts_with('/') {
        return Err(PathError::Escapes(path.chars().take(64).collect()));
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    if path.split('/').count() > DEPTH_MAX {
        return Err(PathError::TooDeep);
    }
    path.split('/').try_for_each(check_name)
}
