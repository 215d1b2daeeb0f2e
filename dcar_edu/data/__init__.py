"""Pictures with captions: emoji, scenes made of them, and folders of your own."""

from dcar_edu.data.emoji import CaptionedEmoji, EmojiBatch, EmojiExample
from dcar_edu.data.folder import FolderExample, ImageCaptionFolder
from dcar_edu.data.scenes import CaptionedScenes, SceneExample, SceneObject

__all__ = [
    "CaptionedEmoji",
    "CaptionedScenes",
    "EmojiBatch",
    "EmojiExample",
    "FolderExample",
    "ImageCaptionFolder",
    "SceneExample",
    "SceneObject",
]
