import pytest

from aimonk.setup.checks import check_components


def test_attributes_can_be_selected(compose_config) -> None:
    check_components(compose_config("data.attributes=[hat,scarf]"))
    with pytest.raises(
        ValueError, match=r"^data.attributes is \[1\]; expected a list \(each a string\) or null$"
    ):
        check_components(compose_config("data.attributes=[1]"))
