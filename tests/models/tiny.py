"""Pipelines of other people's families with random weights: built from configurations, offline.

Each is a `diffusers` pipeline object, seconds to build and milliseconds to run. `save_pretrained`
makes the folder that a user would have. Tokenizers know letters only.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = 77


def clip_tokenizer() -> Any:
    """A CLIP tokenizer of single letters."""
    from transformers import CLIPTokenizer

    pieces = [*LETTERS, *[f"{c}</w>" for c in LETTERS], "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder, "vocab.json")
        vocabulary.write_text(json.dumps({p: i for i, p in enumerate(pieces)}), encoding="utf-8")
        merges = Path(folder, "merges.txt")
        merges.write_text("#version: 0.2\n", encoding="utf-8")
        return CLIPTokenizer(str(vocabulary), str(merges), model_max_length=WORDS)


def letter_tokenizer(length: int = 16) -> Any:
    """A tokenizer of single letters for T5, UMT5, Gemma and Qwen encoders."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {p: i for i, p in enumerate(["<pad>", "</s>", "<unk>", *LETTERS, " "])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
    )
    made.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return made


def clip_encoder(width: int = 16, projected: bool = False, seed: int = 0) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=2 * len(LETTERS) + 2,
        hidden_size=width,
        projection_dim=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=WORDS,
        bos_token_id=2 * len(LETTERS),
        eos_token_id=2 * len(LETTERS) + 1,
        pad_token_id=2 * len(LETTERS) + 1,
        initializer_range=0.5,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def t5_encoder(width: int = 16, kind: str = "T5") -> Any:
    import transformers

    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=64, d_model=width, d_kv=8, d_ff=2 * width, num_layers=1, num_heads=2
    )
    return getattr(transformers, f"{kind}EncoderModel")(config).eval()


def vae(channels: int = 4, **more: Any) -> Any:
    """A picture encoder that halves each side."""
    from diffusers import AutoencoderKL

    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=2,
        sample_size=16,
        **more,
    ).eval()


SD_SCHEDULE: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}
LINEAR: dict[str, Any] = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}


def discrete(name: str = "DDIMScheduler", **more: Any) -> Any:
    import diffusers

    return getattr(diffusers, name)(**{**SD_SCHEDULE, **more})


def euler_flow(**more: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**more)


def _unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(3)
    settings: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**{**settings, **more}).eval()


def unconditional() -> Any:
    """A `DDPMPipeline` of 32 × 32 pixels in colour."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=32,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
    )
    return DDPMPipeline(unet, DDPMScheduler())


def stable_diffusion(prediction: str = "epsilon") -> Any:
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(),
        unet=_unet(),
        scheduler=discrete(prediction_type=prediction, steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> Any:
    from diffusers import StableDiffusionXLPipeline

    unet = _unet(
        cross_attention_dim=32,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=16 + 6 * 4,
        use_linear_projection=True,
    )
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=clip_encoder(),
        text_encoder_2=clip_encoder(projected=True, seed=5),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=discrete(clip_sample=False),
    )


def text_to_video() -> Any:
    from diffusers import TextToVideoSDPipeline, UNet3DConditionModel

    torch.manual_seed(3)
    unet = UNet3DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock3D", "CrossAttnDownBlock3D"),
        up_block_types=("CrossAttnUpBlock3D", "UpBlock3D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=2,
    ).eval()
    return TextToVideoSDPipeline(
        vae=vae(),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(),
        unet=unet,
        scheduler=discrete(clip_sample=False),
    )


def animatediff() -> Any:
    from diffusers import AnimateDiffPipeline, MotionAdapter

    torch.manual_seed(4)
    motion = MotionAdapter(
        block_out_channels=(8, 16),
        motion_layers_per_block=1,
        motion_norm_num_groups=2,
        motion_num_attention_heads=2,
        motion_mid_block_layers_per_block=1,
    )
    pipe = AnimateDiffPipeline(
        vae=vae(),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(),
        unet=_unet(),
        motion_adapter=motion,
        scheduler=discrete(clip_sample=False, beta_schedule="linear"),
    )
    pipe.unet.eval()
    return pipe


def dit() -> Any:
    from diffusers import DiTPipeline, DiTTransformer2DModel

    torch.manual_seed(3)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
        activation_fn="gelu-approximate",
    ).eval()
    names = {k: f"class {k}" for k in range(1000)} | {7: "cock", 207: "golden retriever"}
    return DiTPipeline(
        transformer=network,
        vae=vae(),
        scheduler=discrete(
            clip_sample=False, beta_schedule="linear", beta_start=1e-4, beta_end=0.02
        ),
        id2label=names,
    )


def sd3() -> Any:
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

    torch.manual_seed(3)
    network = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        out_channels=4,
        pos_embed_max_size=16,
    ).eval()
    return StableDiffusion3Pipeline(
        transformer=network,
        vae=vae(4, shift_factor=0.0609, scaling_factor=1.5305),
        scheduler=euler_flow(shift=3.0),
        text_encoder=clip_encoder(projected=True),
        text_encoder_2=clip_encoder(projected=True, seed=5),
        text_encoder_3=t5_encoder(32),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        tokenizer_3=letter_tokenizer(),
    )


def flux(embedded: bool = True) -> Any:
    from diffusers import FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(3)
    network = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        guidance_embeds=embedded,
        axes_dims_rope=(2, 2, 4),
    ).eval()
    return FluxPipeline(
        transformer=network,
        vae=vae(4, shift_factor=0.0609, scaling_factor=1.5305),
        scheduler=euler_flow(use_dynamic_shifting=True, shift=3.0),
        text_encoder=clip_encoder(),
        text_encoder_2=t5_encoder(16),
        tokenizer=clip_tokenizer(),
        tokenizer_2=letter_tokenizer(),
    )


def z_image() -> Any:
    from diffusers import ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(3)
    network = ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    ).eval()
    with torch.no_grad():  # these two are left uninitialised by the class
        network.x_pad_token.copy_(torch.randn_like(network.x_pad_token))
        network.cap_pad_token.copy_(torch.randn_like(network.cap_pad_token))
    encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
        )
    ).eval()
    return ZImagePipeline(
        transformer=network,
        vae=vae(4, shift_factor=0.1159, scaling_factor=0.3611),
        scheduler=euler_flow(shift=3.0),
        text_encoder=encoder,
        tokenizer=letter_tokenizer(),
    )


def _wan_network(seed: int) -> Any:
    from diffusers import WanTransformer3DModel

    torch.manual_seed(seed)
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=16,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    ).eval()


def wan(two: bool = False) -> Any:
    """Wan 2.1, or 2.2 with its two networks."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline

    torch.manual_seed(2)
    decoder = AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    return WanPipeline(
        tokenizer=letter_tokenizer(),
        text_encoder=t5_encoder(16, "UMT5"),
        vae=decoder,
        scheduler=UniPCMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
        ),
        transformer=_wan_network(3),
        transformer_2=_wan_network(4) if two else None,
        boundary_ratio=0.875 if two else None,
    )


def pixart() -> Any:
    from diffusers import PixArtSigmaPipeline, PixArtTransformer2DModel

    torch.manual_seed(3)
    network = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=16,
        sample_size=8,
        patch_size=2,
        caption_channels=16,
        num_embeds_ada_norm=1000,
        use_additional_conditions=False,
    ).eval()
    return PixArtSigmaPipeline(
        tokenizer=letter_tokenizer(),
        text_encoder=t5_encoder(16),
        vae=vae(),
        transformer=network,
        scheduler=discrete(
            beta_schedule="linear", beta_start=1e-4, beta_end=0.02, clip_sample=False
        ),
    )


FAMILIES: dict[str, Callable[[], Any]] = {
    "stable_diffusion": stable_diffusion,
    "stable_diffusion_xl": stable_diffusion_xl,
    "text_to_video": text_to_video,
    "animatediff": animatediff,
    "dit": dit,
    "sd3": sd3,
    "flux": flux,
    "z_image": z_image,
    "wan": wan,
    "pixart": pixart,
}
