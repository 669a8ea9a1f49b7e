"""Reports as single HTML files: text, tables and drawings in one file that needs no server and no network."""

from dinocell_eval.pages.comparison_page import comparison_page
from dinocell_eval.pages.evaluation_page import evaluation_page
from dinocell_eval.pages.gallery import GalleryImage, draw_gallery_image, worst_images
from dinocell_eval.pages.sweep_page import sweep_page

__all__ = ["GalleryImage", "comparison_page", "draw_gallery_image", "evaluation_page", "sweep_page", "worst_images"]
