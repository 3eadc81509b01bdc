//! Settings that are read again while the server runs.

use super::*;

/// Every setting, changed by itself: one that may change does, one that may not stays, and both are
/// told, with what they were and are to be.
#[test]
fn every_setting_changes_or_stays_as_its_row_says() {
    for (at, setting) in SETTINGS.iter().enumerate() {
        let beside = companions(setting);
        let older = Config::with(&beside).unwrap();
        let sample = samples(setting)[0];
        let newer = Config::with(&[&beside[..], &[(setting.name, sample)]].concat()).unwrap();
        let (mixed, differences) = older.reloaded(&newer).unwrap();
        let held = if setting.is_live { &newer } else { &older };
        assert_eq!(mixed.settings, held.settings, "{}", setting.name);
        assert_eq!(mixed.sources[at], held.sources[at], "{}", setting.name);
        let [told] = &differences[..] else { panic!("{}: {differences:?}", setting.name) };
        assert_eq!(told.setting.name, setting.name);
        assert_eq!(told.from, older.settings.shown()[at].join("; "), "{}", setting.name);
        assert_eq!(told.to, newer.settings.shown()[at].join("; "), "{}", setting.name);
        let (same, none) = mixed.reloaded(held).unwrap();
        assert_eq!((same.settings, none), (held.settings.clone(), vec![]), "{}", setting.name);
    }
}

/// What is right by itself and wrong beside a value that cannot change is refused whole.
#[test]
fn new_values_must_fit_beside_old_ones() {
    let older = Config::with(&[("lag-max", "2MiB"), ("publication-max", "2MiB")]).unwrap();
    let newer = Config::with(&[("lag-max", "1MiB"), ("publication-max", "1MiB")]).unwrap();
    assert_eq!(older.reloaded(&newer).unwrap().0.settings, newer.settings);
    // Rows that clash today may all change; so the clash is made by hand.
    let mut clashing = newer.clone();
    clashing.settings.lag_max = Size(1024);
    let told = older.reloaded(&clashing).unwrap_err().to_string();
    assert!(told.contains("lag-max") && told.contains("is below publication-max"), "{told}");
}
