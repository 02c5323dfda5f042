from loadtest.rotation import rotated


def test_rotation_gives_each_every_place() -> None:
    assert ["".join(rotated("abc", turn)) for turn in range(4)] == ["abc", "bca", "cab", "abc"]
