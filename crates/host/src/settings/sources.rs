//! From where each setting has its value: defaults, `node.toml`, the environment, flags.

use std::{collections::BTreeMap, path::Path};

use toml::{Table, Value};
use trefoil_os::operator_file;

use super::{
    Settings,
    error::{SettingSource, SettingsError},
};

// All settings take some KiB; lists of peers and origins a few more.
/// The longest file of settings, bytes (1 MiB).
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Environment variables that begin like settings and are none.
const NOT_SETTINGS: [&str; 3] = ["TREFOIL_DIR", "TREFOIL_LIGHTKDF", "TREFOIL_PASSWORD"];

/// The settings in force, and each key's value with its source.
#[derive(Clone, Debug)]
pub struct Effective {
    pub settings: Settings,
    pub keys: BTreeMap<String, (Value, SettingSource)>,
}

impl Effective {
    /// Defaults, then `file` (if it is there), then the variables of `env`
    /// that begin with `TREFOIL_`, then `flags` (key, text).
    ///
    /// # Errors
    /// An unreadable file, an unknown key, or a value of the wrong form.
    pub fn load(
        file: &Path,
        env: impl Iterator<Item = (String, String)>,
        flags: &[(&'static str, String)],
    ) -> Result<Self, SettingsError> {
        let mut effective = Self::defaults();
        effective.read_file(file)?;
        let by_variable: BTreeMap<String, String> =
            effective.keys.keys().map(|key| (variable(key), key.clone())).collect();
        for (name, text) in env.filter(|(name, _)| name.starts_with("TREFOIL_")) {
            if NOT_SETTINGS.contains(&name.as_str()) {
                continue;
            }
            let source = SettingSource::Environment(name.clone());
            let key = by_variable.get(&name).ok_or_else(|| SettingsError::Unknown {
                key: name.clone(),
                source_: SettingSource::Environment("the environment".into()),
                hint: "unset it, or see `trefoil config` for the known ones".into(),
            })?;
            effective.set_text(key, &text, source)?;
        }
        // Last, since a flag is meant for this run alone.
        for (key, text) in flags {
            effective.set_text(key, text, SettingSource::Flag)?;
        }
        Ok(effective)
    }

    fn defaults() -> Self {
        let settings = Settings::default();
        let flat = flatten(&table(&settings)).into_iter();
        let keys = flat.map(|(key, value)| (key, (value, SettingSource::Default))).collect();
        Self { settings, keys }
    }

    fn read_file(&mut self, file: &Path) -> Result<(), SettingsError> {
        let text = match operator_file::read_text(file, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(SettingsError::Read { file: file.into(), source }),
        };
        let table: Table = toml::from_str(&text)
            .map_err(|e| SettingsError::Toml { file: file.into(), message: e.to_string() })?;
        flatten(&table)
            .into_iter()
            .try_for_each(|(key, value)| self.set(&key, value, SettingSource::File(file.into())))
    }

    /// A value as people type it: lists are separated by commas.
    fn set_text(
        &mut self,
        key: &str,
        text: &str,
        source: SettingSource,
    ) -> Result<(), SettingsError> {
        let wrong = |message: &str| SettingsError::Value {
            key: key.into(),
            source_: source.clone(),
            message: message.into(),
        };
        // The default has the key's form; the file's value may have another.
        let value = match &Self::defaults().keys[key].0 {
            Value::Integer(_) => {
                Value::Integer(text.parse().map_err(|_| wrong("write a whole number"))?)
            }
            Value::Boolean(_) => {
                Value::Boolean(text.parse().map_err(|_| wrong("write true or false"))?)
            }
            Value::Array(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Value::Array(items.map(|item| Value::String(item.into())).collect())
            }
            _ => Value::String(text.into()),
        };
        self.set(key, value, source)
    }

    fn set(&mut self, key: &str, value: Value, source: SettingSource) -> Result<(), SettingsError> {
        // A misspelt key that is passed over would leave its default in force unnoticed.
        let Some(slot) = self.keys.get_mut(key) else {
            let known: Vec<_> = self.keys.keys().map(String::as_str).collect();
            let hint = format!("known settings: {}", known.join(", "));
            return Err(SettingsError::Unknown { key: key.into(), source_: source, hint });
        };
        *slot = (value, source.clone());
        // Read again as a whole after each key, so that an error is this key's.
        let table = unflatten(self.keys.iter().map(|(key, (value, _))| (key.as_str(), value)));
        self.settings = table.try_into().map_err(|e: toml::de::Error| SettingsError::Value {
            key: key.into(),
            source_: source,
            message: e.message().into(),
        })?;
        Ok(())
    }
}

impl Settings {
    /// A `node.toml` of what differs from the defaults.
    pub fn to_toml(&self) -> String {
        let (mut mine, defaults) = (flatten(&table(self)), flatten(&table(&Self::default())));
        // A default that is written down would stay when a later version has a better one.
        mine.retain(|key, value| defaults.get(key) != Some(value));
        let table = unflatten(mine.iter().map(|(key, value)| (key.as_str(), value)));
        let text = toml::to_string(&table).expect("settings are plain data");
        format!("# This node's own settings; `trefoil config` lists all of them.\n{text}")
    }
}

/// `p2p.inbound_max` is `TREFOIL_P2P_INBOUND_MAX` in the environment.
pub fn variable(key: &str) -> String {
    format!("TREFOIL_{}", key.replace('.', "_").to_uppercase())
}

fn table(settings: &Settings) -> Table {
    Table::try_from(settings).expect("settings are plain data")
}

/// Each value by its key: `p2p.inbound_max`.
fn flatten(table: &Table) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (name, value) in table {
        if let Value::Table(inner) = value {
            let inner = flatten(inner).into_iter();
            flat.extend(inner.map(|(key, value)| (format!("{name}.{key}"), value)));
        } else {
            flat.insert(name.clone(), value.clone());
        }
    }
    flat
}

/// Keys have at most two parts: a section and a name.
fn unflatten<'a>(keys: impl Iterator<Item = (&'a str, &'a Value)>) -> Table {
    let mut table = Table::new();
    for (key, value) in keys {
        match key.split_once('.') {
            None => {
                table.insert(key.into(), value.clone());
            }
            Some((section, name)) => {
                let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(section) = section {
                    section.insert(name.into(), value.clone());
                }
            }
        }
    }
    table
}
