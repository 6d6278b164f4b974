"""What begins with an underscore is not in the reference: parameters too, by which tests bring what they need."""

from __future__ import annotations

import griffe


class WithoutPrivateParameters(griffe.Extension):
    """Drops them from signatures."""

    def on_function(self, *, func: griffe.Function, **_: object) -> None:
        """Called for each function that was read."""
        func.parameters = griffe.Parameters(*(one for one in func.parameters if not one.name.startswith("_")))
