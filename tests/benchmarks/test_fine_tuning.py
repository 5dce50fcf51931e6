import json

from benchmarks import fine_tuning


def test_the_folders_hold_every_digit_once(tmp_path):
    fine_tuning.write_folders(tmp_path)
    fine_tuning.write_folders(tmp_path)
    counts = {
        part: sorted((path.name, len(list(path.iterdir()))) for path in (tmp_path / part).iterdir())
        for part in ("first", "second/train", "second/val")
    }
    # Counts of the digits 0 to 9 in the data set: 178, 182, 177, 183, 181, 182, 181, 179, 174, 180.
    assert counts["first"] == [("0", 178), ("1", 182), ("2", 177), ("3", 183), ("4", 181)]
    assert counts["second/train"] == [(str(digit), 20) for digit in range(5, 10)]
    assert counts["second/val"] == [("5", 162), ("6", 161), ("7", 159), ("8", 154), ("9", 160)]
    names = [path.name for path in tmp_path.rglob("*.png")]
    assert len(set(names)) == len(names) == 1797


def test_a_run_with_a_result_is_not_trained_again(tmp_path):
    result = {"step": 50, "eval": {"top1": 0.9}, "stop_reason": "completed"}
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert fine_tuning.train(tmp_path, tmp_path) == (50, 0.9)
    assert fine_tuning.row("tuned", [(50, 0.9), (50, 0.8)]) == ("tuned", "50", "85.0 %", "80.0 - 90.0")
