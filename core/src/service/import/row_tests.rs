use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HASH: &str = "pbkdf2_sha256$1000$hDO6CqeT2zpHSAiRs1SWlX$1i/QAnmKeq8BCnbt57uxcQnk+8gLq3UakjiZ3TrXsAg=";
const CHOICES: Choices = Choices {
    verified: Verified::All,
    staff: None,
    superuser: None,
    drop_unreadable_passwords: false,
    all_active: false,
};

fn raw(changed: &[(Column, &str)]) -> RawRow {
    let mut raw = RawRow::default();
    let usual = [
        (Column::Id, "17"),
        (Column::Email, "Ana+shop@Example.com"),
        (Column::Password, HASH),
        (Column::FirstName, "Ána"),
        (Column::IsActive, "t"),
        (Column::DateJoined, "2021-03-04 05:06:07.123456+00"),
    ];
    for (column, text) in usual.iter().chain(changed) {
        raw.values[*column as usize] = Some((*text).to_owned());
    }
    raw
}

fn parsed(changed: &[(Column, &str)], choices: Choices) -> Row {
    Row::parse(&raw(changed), choices, NOW).unwrap()
}

fn broken(changed: &[(Column, &str)]) -> Vec<(&'static str, &'static str)> {
    let faults = Row::parse(&raw(changed), CHOICES, NOW).unwrap_err();
    faults.into_iter().map(|fault| (fault.field, fault.rule)).collect()
}

#[test]
fn an_ordinary_row_becomes_an_account_with_its_spelling() {
    let row = parsed(&[], CHOICES);
    assert_eq!(
        (row.id.as_str(), row.email.as_str(), row.scheme),
        ("17", "Ana+shop@example.com", Some("pbkdf2_sha256"))
    );
    assert_eq!((row.active, row.email_verified, row.roles.len(), row.notes.len()), (true, true, 0, 0));
    assert_eq!(row.joined_at.unwrap().rfc3339(), "2021-03-04T05:06:07.123456Z");
    assert_eq!(row.profile().first_name, "Ána");
}

#[test]
fn a_row_tells_every_rule_that_it_breaks() {
    let faults = broken(&[
        (Column::Id, "ana@example.com"),
        (Column::Email, "ana"),
        (Column::Password, "md5$a$b"),
        (Column::FirstName, "a\u{0}b"),
        (Column::IsActive, ""),
        (Column::IsStaff, "maybe"),
        (Column::DateJoined, "yesterday"),
        (Column::LastLogin, "2999-01-01T00:00:00Z"),
    ]);
    let expected = [
        ("id", "invalid"),
        ("email", "invalid"),
        ("password", "unknown_format"),
        ("first_name", "invalid"),
        ("is_active", "invalid"),
        ("is_staff", "invalid"),
        ("date_joined", "invalid"),
        ("last_login", "out_of_range"),
    ];
    assert_eq!(faults, expected);
    assert_eq!(broken(&[(Column::Email, "")]), [("email", "empty")]);
}

#[test]
fn a_hash_that_no_login_could_verify_is_refused_or_dropped_as_the_operator_says() {
    let costly = HASH.replace("1000", "10000001");
    let long = format!("argon2$argon2id$v=19$m=64,t=1,p=1${}$aaaa", "a".repeat(1_100));
    for (hash, rule) in [(costly.as_str(), "too_costly"), ("bcrypt$x", "malformed"), (&long, "malformed")] {
        assert_eq!(broken(&[(Column::Password, hash)]), [("password", rule)], "{hash}");
        let choices = Choices { drop_unreadable_passwords: true, ..CHOICES };
        let row = parsed(&[(Column::Password, hash)], choices);
        assert_eq!((row.password, row.notes), (None, vec![Note::PasswordDropped]));
    }
    for none in ["", "!", "!tEp2XkwRBEZgXGVLZPwCCGSnwIfdd4MKkIVOsMHC"] {
        let row = parsed(&[(Column::Password, none)], CHOICES);
        assert_eq!((row.password, row.notes), (None, vec![Note::NoPassword]), "{none}");
    }
}

#[test]
fn staff_and_superusers_get_a_role_only_where_one_is_named() {
    let ranked = [(Column::IsStaff, "true"), (Column::IsSuperuser, "True")];
    let row = parsed(&ranked, CHOICES);
    assert_eq!((row.roles, row.notes), (vec![], vec![Note::StaffWithoutRole, Note::SuperuserWithoutRole]));
    let row = parsed(&ranked, Choices { staff: Some(Role::Auditor), superuser: Some(Role::Admin), ..CHOICES });
    assert_eq!((row.roles, row.notes), (vec![Role::Auditor, Role::Admin], vec![Note::RoleGranted]));
    let row = parsed(&[], Choices { staff: Some(Role::Admin), ..CHOICES });
    assert!(row.roles.is_empty() && row.notes.is_empty());
}

#[test]
fn inactive_is_disabled_and_nobody_is_active_by_silence() {
    let row = parsed(&[(Column::IsActive, "0")], CHOICES);
    assert_eq!((row.active, row.notes), (false, vec![Note::Disabled]));
    assert!(parsed(&[(Column::IsActive, "")], Choices { all_active: true, ..CHOICES }).active);
}

#[test]
fn whose_address_is_verified_is_said_once_or_by_each_row() {
    let verified = |verified, text: &str| {
        let row = Row::parse(&raw(&[(Column::EmailVerified, text)]), Choices { verified, ..CHOICES }, NOW);
        row.map(|row| row.email_verified).ok()
    };
    assert_eq!((verified(Verified::All, "f"), verified(Verified::None, "t")), (Some(true), Some(false)));
    assert_eq!((verified(Verified::Column, "f"), verified(Verified::Column, "t")), (Some(false), Some(true)));
    assert_eq!(verified(Verified::Column, ""), None);
}

#[test]
fn times_are_read_as_postgres_python_and_json_write_them() {
    for text in [
        "2021-03-04 05:06:07+00",
        "2021-03-04 05:06:07",
        "2021-03-04T05:06:07Z",
        "2021-03-04T07:06:07+02:00",
        "2021-03-04 02:36:07-02:30",
        "2021-03-04 05:06:07.000000+00:00",
        "2021-03-04T05:06:07.000000",
    ] {
        let at = parse_instant(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(at.rfc3339(), "2021-03-04T05:06:07Z", "{text}");
    }
    for text in ["2021-03-04", "1614834367", "04/03/2021 05:06", "", "ä-03", "2021-02-30 00:00:00"] {
        assert_eq!(parse_instant(text), None, "{text}");
    }
    assert_eq!(broken(&[(Column::DateJoined, "0001-01-01 00:00:00")]), [("date_joined", "out_of_range")]);
}

#[test]
fn whoever_shares_an_address_or_an_id_is_refused_with_the_others_named() {
    let mut census = Census::default();
    let rows =
        [("1", "Ana@example.com"), ("2", "ana@EXAMPLE.com"), ("3", "ana+x@example.com"), ("4", "bo@example.com")];
    for (id, email) in rows {
        census.observe(&raw(&[(Column::Id, id), (Column::Email, email)]));
    }
    census.observe(&raw(&[(Column::Id, "4"), (Column::Email, "cy@example.com")]));
    let faults = |id, email| {
        let row = parsed(&[(Column::Id, id), (Column::Email, email)], CHOICES);
        census.faults(&row).into_iter().map(|fault| (fault.rule, fault.message)).collect::<Vec<_>>()
    };
    assert_eq!(faults("1", "Ana@example.com")[0].1, "is, after normalising, that of id 2 too");
    assert_eq!(faults("2", "ana@EXAMPLE.com")[0].1, "is, after normalising, that of id 1 too");
    assert_eq!(faults("3", "ana+x@example.com"), []);
    assert_eq!(faults("4", "bo@example.com")[0].0, "repeated");
}
