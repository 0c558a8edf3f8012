//! The names of values on the command line.

use clap::ValueEnum;

/// The command line's name of a value.
pub fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().expect("no value is hidden").get_name().into()
}
