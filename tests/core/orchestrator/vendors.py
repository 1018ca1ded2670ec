"""Marks of tests that are about one vendor's database."""

import pytest

only_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("place", ["postgresql"], indirect=True)
