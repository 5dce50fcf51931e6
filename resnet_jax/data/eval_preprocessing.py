"""The settings with which evaluation turns an image file into the network input; stored in results and exports."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class EvalPreprocessing:
    """The crop and resize settings of an evaluation `Loader`.

    Attributes:
      image_size: side of the square output image in pixels.
      crop: 'central' or 'resize', see `data.crops.create_eval_crop`.
      fraction: side of the central square / shorter side of the image, see the crops of `create_eval_crop`.
      resize: name of the resize kernel, a key of `data.resize.RESIZES`.
      fast_dct: decode JPEG files with the fast DCT, see `data.jpeg.decode_jpeg`.
      enlarge_to: shorter side in pixels to which smaller images are enlarged before the crop; None: no enlarging.
    """

    image_size: int
    crop: str
    fraction: float
    resize: str
    enlarge_to: int | None
    fast_dct: bool = False
