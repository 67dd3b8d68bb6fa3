from django.urls import include, path

urlpatterns = [
    path("api/v1/", include("chat.api.urls")),
    path("", include("chat.pages.urls")),
]
