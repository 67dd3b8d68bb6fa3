from chat.api import views
from core.addresses import either_slash

urlpatterns = [
    *either_slash("query/", views.QueryView.as_view(), "query"),
    *either_slash("messages/<uuid:message_id>", views.MessageView.as_view(), "message"),
    *either_slash("messages/<uuid:message_id>/stream", views.StreamView.as_view(), "message-stream"),
    *either_slash("messages/<uuid:message_id>/stop", views.StopView.as_view(), "message-stop"),
]
