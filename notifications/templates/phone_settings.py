"""Which settings stop a phone from measuring in the background, by its maker, as their menus call them."""

from backend.core.vocabulary import PhoneMaker as M

TEXTS: dict[str, dict[str, str]] = {
    "zh-CN": {
        M.HUAWEI: "设置 → 应用和服务 → 应用启动管理，改为手动管理并允许后台活动；电池中关闭省电模式。",
        M.HONOR: "设置 → 应用 → 应用启动管理，改为手动管理并允许后台活动；电池中关闭省电模式。",
        M.XIAOMI: "设置 → 应用设置 → 应用管理，打开自启动，省电策略选“无限制”。",
        M.OPPO: "设置 → 电池 → 应用耗电管理，允许完全后台行为和自启动。",
        M.VIVO: "i管家或设置 → 电池 → 后台耗电管理，允许后台高耗电，打开自启动。",
        M.SAMSUNG: "设置 → 电池 → 后台使用限制，把应用加入“从不休眠的应用”。",
        M.APPLE: "设置 → 隐私与安全性 → 定位服务，选“始终”并打开精确位置；关闭低电量模式。",
        M.OTHER: "允许后台定位、自启动和无限制的电池用量，关闭省电模式。",
    },
    "en": {
        M.HUAWEI: "Settings → Apps & services → Launch manager: manage manually, run in background; power saving off.",
        M.HONOR: "Settings → Apps → Launch manager: manage manually, run in background; power saving off.",
        M.XIAOMI: "Settings → Apps → Manage apps: Autostart on, Battery saver “No restrictions”.",
        M.OPPO: "Settings → Battery → App battery management: allow background activity and auto launch.",
        M.VIVO: "Settings → Battery → Background power consumption: allow high use, Autostart on.",
        M.SAMSUNG: "Settings → Battery → Background usage limits: add it to “Never sleeping apps”.",
        M.APPLE: "Settings → Privacy & Security → Location Services: “Always” and precise; Low Power Mode off.",
        M.OTHER: "Allow location in the background, autostart and unrestricted battery; power saving off.",
    },
}
