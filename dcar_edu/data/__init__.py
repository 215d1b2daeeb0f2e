"""Pictures with captions: emoji, scenes made of them, folders of your own, Hub data sets."""

from dcar_edu.data.emoji import CaptionedEmoji, EmojiBatch, EmojiExample
from dcar_edu.data.folder import FolderExample, ImageCaptionFolder
from dcar_edu.data.hub import HubExample, HubPictures, HubStream
from dcar_edu.data.scenes import CaptionedScenes, SceneExample, SceneObject

__all__ = [
    "CaptionedEmoji",
    "CaptionedScenes",
    "EmojiBatch",
    "EmojiExample",
    "FolderExample",
    "HubExample",
    "HubPictures",
    "HubStream",
    "ImageCaptionFolder",
    "SceneExample",
    "SceneObject",
]
