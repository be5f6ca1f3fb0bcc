"""The benchmark of the alerts: the rules at its pace, and its list of faults."""

import pathlib

import yaml

from benchmarks.ops.pace import faster

ROOT = pathlib.Path(__file__).parents[2]
RULES = (ROOT / "deploy" / "prometheus" / "tfonline.rules.yaml").read_text()


def alerts(text):
    return {rule["alert"]: rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule}


def test_durations_and_limits_are_divided_and_nothing_else():
    rule = {"alert": "A", "expr": "rate(x[10m] offset 30m) > 15 * 60 and y > 3 * 3600 and z > 100 * 1000 and s > 0.01", "for": "1h"}
    rule["annotations"] = {"summary": "15 * 60 [10m]"}
    (found,) = alerts(faster(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}))).values()
    assert found.pop("expr") == "rate(x[5000ms] offset 15000ms) > 15 * 0.5 and y > 3 * 30 and z > 100 * 50 and s > 0.01"
    assert found == {"alert": "A", "for": "30000ms", "annotations": {"summary": "15 * 60 [10m]"}}


def test_the_rules_have_no_duration_that_stays_as_it_was():
    found, before = alerts(faster(RULES)), alerts(RULES)
    assert list(found) == list(before)
    for rule in found.values():
        assert rule["for"].endswith("ms")
        assert all(part.split("]")[0].endswith("ms") for part in rule["expr"].split("[")[1:])
        assert all(part.split()[0].rstrip(")").endswith("ms") for part in rule["expr"].split(" offset ")[1:])
    changed = {name for name in found if found[name]["expr"] != before[name]["expr"]}
    # Of all others the expression has neither a duration nor a limit in seconds or rows.
    assert set(found) - changed == {
        "TfonlineTrainerDown", "TfonlineRowsRefused", "TfonlineColumnDrift", "TfonlineModelDrift", "TfonlineVocabularyFull",
        "TfonlinePublishingPaused", "TfonlineServerDown", "TfonlineServerErrors", "TfonlineServerSlow", "TfonlineServerStale",
    }  # fmt: skip


def test_each_alert_has_a_fault_that_must_raise_it():
    expected = {name for name in alerts(RULES) for line in FAULTS.splitlines() if f'"{name}"' in line}
    assert expected == set(alerts(RULES))


# As text: the module brings Kafka's client, and these tests do without.
FAULTS = (ROOT / "benchmarks" / "ops" / "faults.py").read_text().partition("FAULTS = (")[2]
