"""Pictures with captions: emoji, scenes made of them, and folders of your own."""

from dcar_edu.data.emoji import CaptionedEmoji, EmojiBatch, EmojiExample

__all__ = ["CaptionedEmoji", "EmojiBatch", "EmojiExample"]
