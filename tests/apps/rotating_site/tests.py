"""Tests of the site itself, for Django's own runner: two classes, so that two processes have something to do."""

from __future__ import annotations

import io

from django.core.management import call_command
from django.db import connections
from django.test import TestCase, TransactionTestCase

from rotating_site.models import Visit


class VisitsTest(TestCase):
    databases = {"default", "other"}  # noqa: RUF012 - as Django wants it

    def test_each_alias_has_a_database_of_its_own(self) -> None:
        for alias in self.databases:
            Visit.objects.using(alias).create(who=alias)
        assert [str(visit) for visit in Visit.objects.using("other")] == ["other"]
        names = {str(connections[alias].settings_dict["NAME"]) for alias in self.databases}
        assert all(name.startswith("test_") and name.endswith(("_1", "_2")) for name in names), names

    def test_dumpdata(self) -> None:
        Visit.objects.using("other").create(who="dumped")
        dump = io.StringIO()
        call_command("dumpdata", "rotating_site", database="other", stdout=dump)
        assert '"who": "dumped"' in dump.getvalue()


class MoreVisitsTest(TransactionTestCase):
    databases = {"default", "other"}  # noqa: RUF012 - as Django wants it

    def test_each_test_begins_with_none(self) -> None:
        for alias in self.databases:
            assert Visit.objects.using(alias).count() == 0
            Visit.objects.using(alias).create(who=alias)
