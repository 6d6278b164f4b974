from __future__ import annotations

from django.db import models


class Visit(models.Model):
    who: models.CharField[str, str] = models.CharField(max_length=20)

    def __str__(self) -> str:
        return str(self.who)
