"""Words on the diagrams, English and Japanese side by side (data only).

Line breaks are those of the drawing. The terms of units, steps and hardware are those of the
element table in `attnlib.patent_elements`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

WORDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        # devices, model and data
        "device-1": ("Training device", "訓練装置"),
        "device-2": ("Inference device", "推論装置"),
        "model-500": ("Machine learning model", "機械学習モデル"),
        "data-T": ("Training\ndata $T$", "訓練データ\n$T$"),
        "data-E": ("Inference\ndata $E$", "推論データ\n$E$"),
        "image-100": ("Normal\nimage", "正常画像"),
        "image-200": ("Abnormal\nimage", "異常画像"),
        # units
        "unit-11": ("Acquisition\nunit", "取得部"),
        "unit-12": ("Feature map\ncalculation unit", "特徴マップ\n算出部"),
        "unit-13": ("Attention map\ncalculation unit", "アテンションマップ\n算出部"),
        "unit-14": ("Integrated map\ncalculation unit", "統合マップ\n算出部"),
        "unit-15": ("Class classification\ncalculation unit", "クラス分類\n算出部"),
        "unit-16": ("Normal loss\ncalculation unit", "正常損失\n算出部"),
        "unit-17": ("Classification loss\ncalculation unit", "分類損失\n算出部"),
        "unit-18": ("Total loss calculation unit", "合計損失算出部"),
        "unit-19": ("Update unit", "更新部"),
        "unit-20": ("Output\nunit", "出力部"),
        # arrows and legend
        "V2": ("$V_2$  ground-truth vector", "$V_2$  正解ベクトル"),
        "P": ("parameters $P$", "パラメータ $P$"),
        "path-normal": ("normal image", "正常画像"),
        "path-abnormal": ("abnormal image", "異常画像"),
        "path-update": ("update of $P$", "$P$ の更新"),
        "cross-entropy": ("cross-entropy", "交差エントロピー"),
        "where": ("$A$\nwhere", "$A$\n位置"),
        "what": ("$C$\nwhat", "$C$\n種類"),
        # flowchart
        "start": ("Start", "開始"),
        "end": ("End", "終了"),
        "yes": ("yes", "はい"),
        "no": ("no", "いいえ"),
        "next-image": ("no: next image", "いいえ: 次の画像"),
        "next-minibatch": ("no: next minibatch", "いいえ: 次のミニバッチ"),
        "S101": ("Initialise total loss $L$", "合計損失 $L$ を初期化"),
        "S102": ("Get a minibatch $M$", "ミニバッチ $M$ を取得"),
        "S103": ("Take one image of $M$", "$M$ の画像を1枚取得"),
        "S104": ("Feature map $F$", "特徴マップ $F$ を算出"),
        "S105": ("Attention map $A$", "アテンションマップ $A$ を算出"),
        "S106": ("Normal\nimage?", "正常画像か"),
        "S107": ("Normal loss $L_{normal}$", "正常損失 $L_{normal}$ を算出"),
        "S108": ("Integrated map $G$", "統合マップ $G$ を算出"),
        "S109": ("Class classification $C$", "クラス分類 $C$ を算出"),
        "S110": ("Classification loss $L_{classify}$", "分類損失 $L_{classify}$ を算出"),
        "S111": ("Add to total loss $L$", "合計損失 $L$ を算出"),
        "S112": ("All of $M$\ndone?", "ミニバッチ $M$\nの処理完了か"),
        "S113": ("Update parameters $P$", "パラメータ $P$ を更新"),
        "S114": ("Training\nfinished?", "訓練完了か"),
        "unit": ("unit", "部"),
        # hardware
        "device": ("Training device 1 or inference device 2", "訓練装置 1 又は推論装置 2"),
        "bus": ("Bus", "バス"),
        "hw-81": ("CPU", "CPU"),
        "hw-82": ("RAM", "RAM"),
        "hw-83": ("ROM", "ROM"),
        "hw-84": ("Storage", "ストレージ"),
        "hw-85": ("Display device", "表示装置"),
        "hw-86": ("Input device", "入力装置"),
        "hw-87": ("Communication device", "通信装置"),
        "role-81": ("runs the programs\nof all units", "各部のプログラムを\n実行"),
        "role-82": ("working memory", "作業領域"),
        "role-83": ("read-only memory", "書き換え不可のメモリ"),
        "role-84": ("images, programs,\ntrained models", "画像、プログラム、\n訓練済みモデル"),
        "role-85": ("shows maps and boxes", "マップとボックスの表示"),
        "role-86": ("mouse, keyboard", "マウス、キーボード"),
        "role-87": ("network", "ネットワーク"),
        # what a machine has
        "cores": ("cores", "コア"),
        "total": ("in total", "(総量)"),
        "free": ("free", "(空き)"),
        "no-gpu": ("no GPU", "GPUなし"),
        "firmware": ("firmware of the\nmachine", "本体のファームウェア"),
        "browser": ("screen of the browser\nor the terminal", "ブラウザ又は\n端末の画面"),
        "mouse": ("mouse and keyboard\nof the user", "利用者のマウス、\nキーボード"),
        "network": ("network, used only\nfor downloads", "ネットワーク\n(ダウンロード時のみ)"),
        "unknown": ("unknown", "不明"),
    }
)
"""Key -> (English, Japanese)."""
