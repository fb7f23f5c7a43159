"""What schemathesis cannot know of the service: how to log in, and that each request comes from somebody else."""

import os
import random

import requests
import schemathesis

BASE = os.environ["DOORBOOK_BASE"]
ACCOUNT = os.environ.get("DOORBOOK_ACCOUNT")


# Apart from the generator's own chance, which a seed repeats.
CHANCE = random.SystemRandom()


def anywhere():
    """A client address: limits by address would otherwise be the only thing tested after some twenty requests."""
    return f"10.{CHANCE.randrange(256)}.{CHANCE.randrange(256)}.{CHANCE.randrange(1, 255)}"


@schemathesis.hook
def before_call(context, case, kwargs):
    case.headers["X-Forwarded-For"] = anywhere()
    # A stream has no end to wait for: it is asked to go on from where nobody was.
    if case.path == "/api/admin/audit/events/stream/":
        case.headers.setdefault("Last-Event-ID", "nowhere")


if ACCOUNT:

    @schemathesis.auth(refresh_interval=2)
    class Session:
        """A new session every other second: whatever logs out ends only the present one."""

        def get(self, case, context):
            email, password = ACCOUNT.split(" ", 1)
            answer = requests.post(
                f"{BASE}/api/auth/login/",
                json={"email": email, "password": password},
                headers={"X-Forwarded-For": anywhere()},
                timeout=20,
            )
            answer.raise_for_status()
            return answer.json()["access"]

        def set(self, case, data, context):
            case.headers["Authorization"] = f"Bearer {data}"
