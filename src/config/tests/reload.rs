//! Settings that are read again while the server runs.

use super::*;

/// Every setting, changed by itself: one that may change does, one that may not stays, and both are
/// told, with what they were and are to be.
#[test]
fn every_setting_changes_or_stays_as_its_row_says() {
    for (at, setting) in SETTINGS.iter().enumerate() {
        let beside = companions(setting);
        let [sample, other, _] = samples(setting);
        // Where what stands beside it is refused without it, from one value to another.
        let older = Config::with(&beside).unwrap_or_else(|_| {
            Config::with(&[&beside[..], &[(setting.name, other)]].concat()).unwrap()
        });
        let newer = Config::with(&[&beside[..], &[(setting.name, sample)]].concat()).unwrap();
        let (mixed, differences) = older.reloaded(&newer).unwrap();
        // The sample has a pattern that was not there; see below.
        let is_applied = setting.is_live && setting.name != "channels";
        let held = if is_applied { &newer } else { &older };
        assert_eq!(mixed.settings, held.settings, "{}", setting.name);
        assert_eq!(mixed.sources[at], held.sources[at], "{}", setting.name);
        let [told] = &differences[..] else { panic!("{}: {differences:?}", setting.name) };
        assert_eq!((told.setting.name, told.is_applied), (setting.name, is_applied));
        assert_eq!(told.from, older.settings.shown()[at].join("; "), "{}", setting.name);
        assert_eq!(told.to, newer.settings.shown()[at].join("; "), "{}", setting.name);
        let (same, none) = mixed.reloaded(held).unwrap();
        assert_eq!((same.settings, none), (held.settings.clone(), vec![]), "{}", setting.name);
    }
}

/// Of channels whatever can change without making them anew does.
#[test]
fn channels_keep_what_they_are_made_of() {
    let config = |text| Config::with(&[("channels", text)]).unwrap();
    let older = config("a.* history=10 history-bytes=1KiB; b publish=true");
    for (text, expected) in [
        ("a.* history=20 history-bytes=1KiB slow=skip publish=true; b", true),
        ("a.* history=10 history-age=1m; b slow=latest", true),
        ("a.*; b publish=true", false),
        ("a.* history=10 mode=latest; b publish=true", false),
        ("a.* history=10; b publish=true presence=true", false),
        ("b publish=true; a.* history=10", false),
        ("a.* history=10; b publish=true; c", false),
    ] {
        let newer = config(text);
        let (mixed, differences) = older.reloaded(&newer).unwrap();
        let applied: Vec<_> = differences.iter().map(|it| it.is_applied).collect();
        assert_eq!(applied, [expected], "{text}");
        let held = if expected { &newer } else { &older };
        assert_eq!(mixed.settings.channels, held.settings.channels, "{text}");
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
