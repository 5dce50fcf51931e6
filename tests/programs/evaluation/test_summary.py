from resnet_jax.programs.evaluation.summary import summary_lines
from tests.programs.evaluation.example import results

FILES = ("certificate.json", "answers.npz", "per_class.csv", "confusion.csv", "errors.csv")
FILES += ("confusion.png", "calibration.png")


def test_the_lines_list_the_worst_classes_and_confusions(tmp_path):
    lines = summary_lines(results(["0", "1", "2"]), tmp_path / "one")
    assert lines == [
        "accuracy     top-1 50.00 % (18.76 to 81.24), n = 6",
        "loss         0.5000",
        "no answer    for 1 images, counted as wrong: outputs are NaN",
        "calibration  ECE 12.46 %, adaptive 50.49 %, Brier 0.6074",
        "             temperature 2.466: logits divided by it, as fits half of the images best, change the ECE of the "
        "other half from 52.46 to 66.67 %",
        "worst        0 of 2   0.00 %  2",
        "             2 of 3  66.67 %  0",
        "confused     1 x  0  taken for  1",
        "             1 x  2  taken for  nothing",
        "             1 x  2  taken for  class 3",
        f"results      {tmp_path}/one/",
        f"             {', '.join(FILES)}",
    ]


def test_top_5_is_listed_if_there_are_more_than_five_outputs(tmp_path):
    lines = summary_lines(results(outputs=6), tmp_path / "one")
    assert lines[0] == "accuracy     top-1 50.00 % (18.76 to 81.24), top-5 83.33 % (43.65 to 96.99), n = 6"
