"""A Django project in one file, with users of every kind: argv[1] is how many. Prints one JSON object a user."""

import datetime
import json
import os
import sys
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings

url = urlsplit(os.environ["DJANGO_DATABASE_URL"])
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": url.hostname,
            "PORT": url.port,
            "NAME": url.path.lstrip("/"),
            "USER": unquote(url.username),
            "PASSWORD": unquote(url.password or ""),
        }
    },
    USE_TZ=True,
    TIME_ZONE="America/Bogota",
    SECRET_KEY="of no use",
)
django.setup()

from django.contrib.auth import hashers  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402

call_command("migrate", verbosity=0)

# Every hasher with Django's own parameters, and cheap: a test is not about the time they take.
DEAR = {
    "argon2": hashers.Argon2PasswordHasher,
    "pbkdf2_sha256": hashers.PBKDF2PasswordHasher,
    "pbkdf2_sha1": hashers.PBKDF2SHA1PasswordHasher,
    "bcrypt_sha256": hashers.BCryptSHA256PasswordHasher,
    "bcrypt": hashers.BCryptPasswordHasher,
    "scrypt": hashers.ScryptPasswordHasher,
}
CHEAP = {
    "argon2": {"time_cost": 1, "memory_cost": 64, "parallelism": 1},
    "pbkdf2_sha256": {"iterations": 1000},
    "pbkdf2_sha1": {"iterations": 1000},
    "bcrypt_sha256": {"rounds": 4},
    "bcrypt": {"rounds": 4},
    "scrypt": {"work_factor": 16},
}
KINDS = [*DEAR, "unusable"]


def encoded(kind, password, dear):
    if kind == "unusable":
        return hashers.make_password(None)
    hasher = DEAR[kind] if dear else type("Cheap", (DEAR[kind],), CHEAP[kind])
    return hasher().encode(password, hasher().salt())


def user(number):
    kind = KINDS[number % len(KINDS)]
    email = [
        f"user.{number}@example.com",
        f"user.{number}+shop@example.com",
        f"USER.{number}@Example.COM",
        f"Usér.{number}@bücher.example",
        f"o'user-{number}@example.com",
    ][number % 5]
    # The last is not composed, and Django hashes it as it was typed.
    password = [f"violet harbour {number}", f"морской порт {number}", f"cafe\u0301 am Hafen {number}"][number % 3]
    joined = datetime.datetime(2015, 1, 1, 12, tzinfo=datetime.timezone.utc) + datetime.timedelta(
        hours=number, microseconds=number
    )
    made = User(
        username=f"user{number}",
        email=email,
        password=encoded(kind, password, dear=number < len(KINDS)),
        first_name=["Ana", "Ána María", "安娜", "Анна", ""][number % 5],
        last_name=["Lima", "Ñandú", "李", "Ильина", "O'Neil"][number % 5],
        is_active=number % 11 != 3,
        is_staff=number % 13 == 4,
        is_superuser=number % 29 == 5,
        date_joined=joined,
        last_login=joined + datetime.timedelta(days=1) if number % 2 else None,
    )
    return made, kind, password


made = [user(number) for number in range(int(sys.argv[1]))]
User.objects.bulk_create([user for user, _, _ in made], batch_size=1000)
# What Django allows and an address as a login does not.
for name, email in [("nobody", ""), ("twin1", "Twin@example.com"), ("twin2", "twin@example.com")]:
    User.objects.create(username=name, email=email, password=made[1][0].password)
for user, kind, password in made:
    print(
        json.dumps(
            {
                "id": user.pk,
                "email": user.email,
                "kind": kind,
                "password": password,
                "active": user.is_active,
                "staff": user.is_staff,
                "joined": user.date_joined.isoformat(),
                "first_name": user.first_name,
            }
        )
    )
