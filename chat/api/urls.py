from chat.api import views
from chat.api.conversations import ConversationViewSet
from core.addresses import either_slash

urlpatterns = [
    *either_slash("query/", views.QueryView.as_view(), "query"),
    *either_slash("messages/<uuid:message_id>", views.MessageView.as_view(), "message"),
    *either_slash("messages/<uuid:message_id>/stream", views.StreamView.as_view(), "message-stream"),
    *either_slash("messages/<uuid:message_id>/stop", views.StopView.as_view(), "message-stop"),
    *either_slash("messages/<uuid:message_id>/feedback", views.FeedbackView.as_view(), "message-feedback"),
    *either_slash("conversations", ConversationViewSet.as_view({"get": "list"}), "conversations"),
    *either_slash("conversations/<uuid:pk>", ConversationViewSet.as_view({"get": "retrieve"}), "conversation-detail"),
    *either_slash(
        "conversations/<uuid:pk>/export", ConversationViewSet.as_view({"get": "export"}), "conversation-export"
    ),
]
