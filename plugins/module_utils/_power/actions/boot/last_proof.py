# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last proof of a server, if it was of the present definition and image."""

from __future__ import annotations

from ...definitions.definition import Definition
from ...definitions.supervision import definition_fingerprint
from ...model.proof import ProofEnd
from ..node.context import ActionContext, known


def has_failed(context: ActionContext, definition: Definition, image_id: str) -> bool:
    """Tell if this pair of definition and image was the last to fail its proof. Raises `IntentUnknown` if the journal is unreadable."""
    proof = known(context, lambda: context.node.journal.proofs.of(context.uuid))
    return proof is not None and proof.gave_up(definition_fingerprint(definition), image_id)


def went_back_to(context: ActionContext, definition: Definition, container: str) -> bool:
    """Tell if the server went back from this definition to this container. Raises as `has_failed`.

    The image does not count: that of the failed version may be gone.
    """
    proof = known(context, lambda: context.node.journal.proofs.of(context.uuid))
    if proof is None or proof.ended is not ProofEnd.REVERTED or proof.back != container:
        return False
    return proof.fingerprint == definition_fingerprint(definition)
