"""Pseudonyms, other UIDs and other days for a patient: under one key file always the same.

All of them are keyed hashes (HMAC, FIPS 198-1): who has the key can make the link again from the
identifiers that he knows, nobody else can, and nothing but the key has to be kept. The file lists
the patients beside it, for people.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from datetime import timedelta
from pathlib import Path

from ..errors import UsageError
from ..platform import write_json

SECRET_BYTES = 32
# Days by which a patient's dates are moved back: whole weeks, so that weekdays stay.
LEAST_WEEKS, MOST_WEEKS = 53, 520
_ABOUT = (
    "Key of pseudonyms, made by RT Pipeline. Who has it can link pseudonyms to patients: keep it "
    "secret, keep it safe, and never together with pseudonymised data."
)


class PseudonymKey:
    """The key file, made when it does not exist.

    Raises `UsageError` when it cannot be read or written, or is a file of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            self._secret = secrets.token_bytes(SECRET_BYTES)
            self._patients: dict[str, dict[str, object]] = {}
            self.save()
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            self._secret = bytes.fromhex(content["secret"])
            self._patients = dict(content["patients"])
        except OSError as error:
            raise UsageError(
                f"{path} cannot be read ({error.strerror}); give the key file of the pseudonyms"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path} is no key file of pseudonyms; name that of an earlier run, or a new file, "
                "which is then made"
            ) from error
        if len(self._secret) < SECRET_BYTES:
            raise UsageError(f"{path}: its secret is cut short; restore the file from a copy")

    def save(self) -> None:
        """Write the file, readable by its owner alone where the system knows such a thing."""
        content = {"about": _ABOUT, "secret": self._secret.hex(), "patients": self._patients}
        write_json(self.path, content)
        self.path.chmod(0o600)

    def knows(self, patient_id: str) -> bool:
        """Whether this is the ID of a patient of an earlier copy, not a pseudonym."""
        return patient_id in self._patients

    def pseudonym(self, patient_id: str) -> str:
        """The patient's pseudonym; an empty ID stays empty."""
        if not patient_id:
            return ""
        return "P" + base64.b32encode(self._digest("patient", patient_id)).decode()[:12]

    def shift(self, patient_id: str) -> timedelta:
        """What is added to the patient's dates."""
        number = int.from_bytes(self._digest("days", patient_id)[:8], "big")
        return -timedelta(weeks=LEAST_WEEKS + number % (MOST_WEEKS - LEAST_WEEKS))

    def uid(self, uid: str) -> str:
        """The UID that stands for another: 2.25 and a number of 128 bits (PS3.5 B.2)."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}"

    def file_name(self, name: str) -> str:
        """What stands for the path of a file, in 20 letters and digits."""
        return base64.b32encode(self._digest("file", name)).decode()[:20].lower()

    def note(self, patient_id: str) -> None:
        """List a patient in the file, with the next `save`."""
        self._patients[patient_id] = {
            "pseudonym": self.pseudonym(patient_id),
            "days": self.shift(patient_id).days,
        }

    def _digest(self, kind: str, text: str) -> bytes:
        message = f"{kind}\x1f{text}".encode("utf-8", "surrogateescape")
        return hmac.new(self._secret, message, hashlib.sha256).digest()
