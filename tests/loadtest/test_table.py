from loadtest.table import markdown


def test_markdown_columns_line_up() -> None:
    lines = markdown(["name", "us"], [["a", "1,000"], ["longer", "2"]]).splitlines()
    assert lines == [
        "| name   |    us |",
        "| ------ | ----: |",
        "| a      | 1,000 |",
        "| longer |     2 |",
    ]
