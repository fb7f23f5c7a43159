"""The peer: what a Django REST service with simplejwt does for the same routes, and nothing beside it.

Every choice is the faster one where guides leave it open: no middleware but the common one, no throttles, no mail
server, JSON alone. Hashes, tokens and their rotation are as in Doorbook.

    python service.py migrate          make the tables
    python service.py accounts N HASH  make N accounts with this encoded password
    gunicorn service:application       serve
"""

import os
import sys
from datetime import timedelta
from urllib.parse import urlsplit

import django
from django.conf import settings

database = urlsplit(os.environ["DJANGO_DATABASE_URL"])

settings.configure(
    DEBUG=False,
    SECRET_KEY="a peer on loopback has no secrets, but a key of the usual length",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": database.hostname,
            "PORT": database.port,
            "USER": database.username,
            "PASSWORD": database.password,
            "NAME": database.path.lstrip("/"),
            # Kept: a connection a request would be what is measured.
            "CONN_MAX_AGE": 600,
        }
    },
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_simplejwt.token_blacklist",
    ],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.Argon2PasswordHasher"],
    AUTH_PASSWORD_VALIDATORS=[
        {"NAME": "django.contrib.auth.password_validation." + name}
        for name in (
            "UserAttributeSimilarityValidator",
            "MinimumLengthValidator",
            "CommonPasswordValidator",
            "NumericPasswordValidator",
        )
    ],
    EMAIL_BACKEND="django.core.mail.backends.dummy.EmailBackend",
    USE_TZ=True,
    LOGGING_CONFIG=None,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    },
    SIMPLE_JWT={
        "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
        "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
        "ROTATE_REFRESH_TOKENS": True,
        "BLACKLIST_AFTER_ROTATION": True,
        "ALGORITHM": "HS256",
        "SIGNING_KEY": "a signing key of its own, which nobody needs to keep secret",
    },
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.contrib.auth.password_validation import validate_password  # noqa: E402
from django.contrib.auth.tokens import default_token_generator  # noqa: E402
from django.core.mail import send_mail  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import permissions, serializers, status  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView  # noqa: E402


class ProfileSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["id", "email", "first_name", "last_name", "date_joined", "last_login"]


class RegisterSerializer(serializers.Serializer):
    email = serializers.EmailField()
    password = serializers.CharField(write_only=True)
    password_confirm = serializers.CharField(write_only=True)

    def validate(self, data):
        if data["password"] != data["password_confirm"]:
            raise serializers.ValidationError({"password_confirm": "differs"})
        if User.objects.filter(email=data["email"]).exists():
            raise serializers.ValidationError({"email": "taken"})
        validate_password(data["password"], User(username=data["email"], email=data["email"]))
        return data


class Register(APIView):
    authentication_classes = []
    permission_classes = [permissions.AllowAny]

    def post(self, request):
        serializer = RegisterSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        email = serializer.validated_data["email"]
        user = User.objects.create_user(email, email, serializer.validated_data["password"])
        send_mail("Welcome", default_token_generator.make_token(user), None, [email])
        return Response(ProfileSerializer(user).data, status=status.HTTP_201_CREATED)


class Profile(APIView):
    permission_classes = [permissions.IsAuthenticated]

    def get(self, request):
        return Response(ProfileSerializer(request.user).data)


class Reset(APIView):
    authentication_classes = []
    permission_classes = [permissions.AllowAny]

    def post(self, request):
        user = User.objects.filter(email=request.data["email"]).first()
        if user is not None:
            send_mail("Reset", default_token_generator.make_token(user), None, [user.email])
        return Response({"detail": "If there is such an account, a mail is on its way."})


def health(_request):
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("api/auth/login/", TokenObtainPairView.as_view()),
    path("api/auth/register/", Register.as_view()),
    path("api/auth/profile/", Profile.as_view()),
    path("api/auth/token/refresh/", TokenRefreshView.as_view()),
    path("api/auth/password/reset/", Reset.as_view()),
    path("health/live", health),
    path("health/ready", health),
]

application = get_wsgi_application()


def accounts(count, encoded):
    emails = (f"user{number}@example.com" for number in range(1, count + 1))
    users = (User(username=email, email=email, password=encoded, first_name="Ana", last_name="Lima") for email in emails)
    User.objects.bulk_create(users, batch_size=1000)


if __name__ == "__main__":
    if sys.argv[1] == "accounts":
        accounts(int(sys.argv[2]), sys.argv[3])
    else:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
