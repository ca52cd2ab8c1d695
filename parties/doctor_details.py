"""What a doctor's checks find, each sentence in English and Chinese; the checks fill in the particulars."""

from parties.doctor_words import Sentence


class Detail(Sentence):
    """What is so: first what each check says when all is well, then what may be wrong, in the order of the checks."""

    FILES_WELL = ("complete, and private where they must be: {home}", "文件齐全，应保密的均已保密：{home}")
    DISK_WELL = (
        "{free} MiB are free at {home}, and it can be written",
        "{home} 处有 {free} MiB 可用空间，可以写入",
    )
    DIRECTORY_WELL = (
        "version {version}, valid until {until}, {parties}",
        "第 {version} 版，有效期至 {until}，共 {parties} 个参与方",
    )
    KEYS_WELL = (
        "encrypted, and each is the one that the directory lists as active",
        "已加密，且均为名录中在用的密钥",
    )
    KEY_STRENGTH_WELL = ("as recommended", "符合建议")
    CERTIFICATE_WELL = ("valid until {until}", "有效期至 {until}")
    LEDGER_WELL = (
        "{entries}; read back from entry {since} on; unseen ledger verify {at_home} checks all",
        "共 {entries} 条，已从第 {since} 条起回读；全部核验请执行：unseen ledger verify {at_home}",
    )
    VAULT_NONE = ("there is none yet, as there is no ledger", "尚无保密库，因为尚无账本")
    VAULT_WELL = (
        "of the newest receipts in the ledger it has all, {receipts}",
        "账本中最新的 {receipts} 份回执均在保密库中",
    )
    CLOCK_WELL = ("within {offset} of {witnesses}", "与 {witnesses} 的时钟相差不超过 {offset}")
    WITNESSES_WELL = ("each knows this ledger as it is: {witnesses}", "各见证方所见均与本账本一致：{witnesses}")
    WITNESSES_NOTHING = ("no checkpoint to show yet: {witnesses}", "尚无可供见证的检查点：{witnesses}")
    WITNESSES_NONE = ("there are none, and none is needed", "没有见证方，也不需要")
    MISBEHAVIOUR_WELL = ("none seen in {logs} that this party witnesses", "在本方见证的 {logs} 个账本中未见违规")
    SERVER_WELL = ("serves at {endpoint}", "正在 {endpoint} 提供服务")
    REGULATOR_WELL = (
        "{regulator} serves, and its directory is the one installed here",
        "{regulator} 正在提供服务，其名录与本机所装的一致",
    )
    PEERS_WELL = ("these serve: {peers}", "以下参与方正在提供服务：{peers}")
    PEERS_NONE = ("no contract in force needs others", "没有生效的合约需要其他参与方")
    DATA_WELL = ("fit their declarations: {datasets}", "与声明相符：{datasets}")
    CONTRACTS_WELL = ("{contracts} in force, each within its lease", "{contracts} 份合约生效，均在租期之内")
    RECEIPTS_WELL = ("waiting to be countersigned: {receipts}", "有 {receipts} 份回执等待会签")
    CALLS_WELL = ("every call was finished", "所有调用均已完成")
    OUTBOX_WELL = ("nothing waits", "没有待发消息")
    REPLICAS_WELL = (
        "{logs}, each complete up to its cosigned checkpoint",
        "{logs} 个账本的副本，均完整到已见证的检查点",
    )
    PARTIES_WELL = ("{parties} enrolled, heard of and certified", "共 {parties} 个参与方入册，均有消息，证书均有效")

    UNCHECKED = ("this could not be looked at: {error}", "无法检查：{error}")
    SETTINGS_WRONG = ("{error}", "设置文件有误：{error}")

    FILE_MISSING = ("{path} is missing", "缺少 {path}")
    ENROLMENT_MISSING = (
        "{path} is missing: the party is not enrolled, or lost it",
        "缺少 {path}：本方尚未入册，或该文件已丢失",
    )
    HOME_EXPOSED = (
        "{path} can be written by other users: they could put files of theirs in place of its own",
        "其他用户可以写入 {path}：他们可以用自己的文件替换其中的文件",
    )
    FILE_EXPOSED = ("{path} is open to other users (mode {mode})", "其他用户可以访问 {path}（权限为 {mode}）")
    FILE_FOREIGN = (
        "{path} belongs to another user than the home does, so the party may not be able to write it",
        "{path} 与本方的主目录不属于同一用户，本方可能无法写入",
    )
    DISK_FULL = (
        "{free} MiB are free at {home}; calls fail when none is left",
        "{home} 处只有 {free} MiB 可用空间；用尽之后调用会失败",
    )
    DISK_LOW = (
        "{free} MiB are free at {home}, the ledger has {ledger} MiB; backups and verification need a multiple of that",
        "{home} 处有 {free} MiB 可用空间，账本占 {ledger} MiB；备份和核验需要数倍于账本的空间",
    )
    FILES_FULL = (
        "only {files} more files can be made where {home} lies",
        "{home} 所在的文件系统只能再建 {files} 个文件",
    )
    DISK_UNWRITABLE = ("{path} cannot be written: {error}", "无法写入 {path}：{error}")
    LOG_LONG = (
        "{path} has {size} MiB: some reader keeps it from being cut",
        "{path} 已有 {size} MiB：有读取它的程序使其无法截短",
    )

    NOT_ENROLLED = ("there is no party directory here: the party is not enrolled", "本机没有名录：本方尚未入册")
    DIRECTORY_UNUSABLE = ("the party directory here cannot be used: {error}", "本机的名录无法使用：{error}")
    DIRECTORY_UNTRUSTED = (
        "the party directory here does not verify: {error}",
        "本机的名录未通过核验：{error}",
    )
    DIRECTORY_EXPIRED = (
        "expired: version {version}, valid until {until}",
        "已过期：第 {version} 版，有效期至 {until}",
    )
    DIRECTORY_EXPIRES = (
        "version {version}, valid until {until}: the regulator has renewed it, and this party has not heard",
        "第 {version} 版，有效期至 {until}：监管方已经更新，而本方尚未收到",
    )
    OWN_DIRECTORY_EXPIRES = ("version {version}, valid until {until}", "第 {version} 版，即将过期，有效期至 {until}")
    UNLISTED = (
        "version {version}, valid until {until}, which does not list {party}",
        "第 {version} 版，有效期至 {until}，其中没有 {party}",
    )
    ENDPOINT_DIFFERS = (
        "others dial {listed}, but party.toml says {own}",
        "其他参与方连接的地址是 {listed}，而 party.toml 中写的是 {own}",
    )

    KEYS_LOCKED = (
        "the keys are encrypted, and were not looked at; nor was anybody asked over the network",
        "密钥已加密而没有给出口令，因此没有检查密钥，也没有通过网络询问其他参与方",
    )
    KEYS_IN_CLEAR = (
        "the private keys lie in clear: whoever can read this disk or a backup of it has them",
        "私钥未加密：能读取本磁盘或其备份的人都能得到私钥",
    )
    KEY_UNUSABLE = ("a key cannot be used: {error}", "有密钥无法使用：{error}")
    KEY_UNLISTED = (
        "{key} is not listed in the directory: what it signs is believed by nobody",
        "名录中没有 {key}：没有人相信它的签名",
    )
    KEY_RETIRED = ("{key} was rotated out: a newer key is active", "{key} 已被更换：在用的是更新的密钥")
    KEY_SUCCEEDED = (
        "{key} was rotated out, and its successor is not in use yet",
        "{key} 已被更换，而接替它的密钥尚未启用",
    )
    KEY_REVOKED = (
        "{key} was revoked by the regulator: what it signs is refused everywhere",
        "{key} 已被监管方吊销：它的签名处处被拒绝",
    )
    WEAK_KEYS_ACCEPTED = (
        "unsafe_minimum_modulus_bits = {bits}: Paillier keys that can be factored are accepted",
        "unsafe_minimum_modulus_bits = {bits}：可被分解的 Paillier 密钥也会被接受",
    )
    CURVE_WEAK = (
        "{path} has a key that is neither on P-256 nor on a longer curve",
        "{path} 中的密钥太弱，不是 P-256 或更长的曲线",
    )
    PAILLIER_KEY = ("the Paillier key {path} has {bits} bits", "Paillier 密钥 {path} 有 {bits} 位")
    PAILLIER_SETTING = (
        "[compute] paillier_bits = {bits}, for the key that is made on first use",
        "[compute] paillier_bits = {bits}（首次使用时按此生成密钥）",
    )
    PAILLIER_WEAK = (
        "{which}: it can be factored, and then every result be read",
        "密钥太弱。{which}：这样的密钥可被分解，从而读出所有结果",
    )
    PAILLIER_SHORT = (
        "{which}: fewer than the {recommended} that are recommended for results that stay secret",
        "{which}：少于为使结果长期保密而建议的 {recommended} 位",
    )

    CERTIFICATE_UNUSABLE = ("it cannot be used: {error}", "证书无法使用：{error}")
    CERTIFICATE_FOREIGN = (
        "the certificate is of another key than keys/tls.pem",
        "证书与 keys/tls.pem 不是一对",
    )
    CERTIFICATE_REVOKED = (
        "the regulator has revoked it: nobody talks to this party",
        "证书已被监管方吊销：没有人与本方通信",
    )
    CERTIFICATE_EXPIRED = (
        "expired {since} ago: nobody talks to this party",
        "证书已于 {since}前过期：没有人与本方通信",
    )
    CERTIFICATE_EXPIRES = ("valid until {until}: {left} left", "有效期至 {until}，还剩 {left}")

    LEDGER_MISSING = (
        "there is no ledger yet: it is made when the party is first opened",
        "还没有账本：本方首次启动时才会建立",
    )
    LEDGER_DAMAGED = ("damaged, or it cannot be read: {error}", "账本已损坏或无法读取：{error}")
    LEDGER_FOREIGN = (
        "it is the ledger of {found}, and this is the home of {wanted}",
        "这是 {found} 的账本，而这里是 {wanted} 的主目录",
    )
    LEDGER_RESTORED = (
        "restored from a backup, {entries}; it signs nothing before it has caught up",
        "账本由备份恢复，共 {entries} 条；在补齐之前不签署任何内容",
    )
    VAULT_MISSING = (
        "there is a ledger and no vault: openings, receipts and stored messages are lost",
        "有账本而没有保密库：承诺的打开值、回执和所存的消息均已丢失",
    )
    VAULT_UNREADABLE = ("it cannot be read: {error}", "保密库无法读取：{error}")
    VAULT_BEHIND = (
        "{missing} of the newest {receipts} receipts in the ledger are not in the vault: it is of an earlier time; "
        "messages of those calls are answered STALE",
        "账本中最新的 {receipts} 份回执有 {missing} 份不在保密库中：它比账本旧；有关这些调用的消息会得到 STALE 答复",
    )
    CLOCK_BEHIND_LEDGER = (
        "the ledger's last entry is {ahead} ahead of this machine's clock",
        "账本最后一条的时间比本机时钟晚 {ahead}",
    )
    CLOCK_UNKNOWN = ("no witness told its time", "没有见证方告知时间，无从核对本机时钟")
    CLOCK_BEHIND = (
        "this machine's clock is {offset} behind that of {witnesses}",
        "本机时钟比 {witnesses} 的慢 {offset}",
    )
    CLOCK_AHEAD = (
        "this machine's clock is {offset} ahead of that of {witnesses}",
        "本机时钟比 {witnesses} 的快 {offset}",
    )
    CLOCK_REFUSED = (
        "{difference}; requests are refused beyond {allowed}",
        "{difference}；相差超过 {allowed} 的请求会被拒绝",
    )

    POLICY_WRONG = ("the witness policy is wrong: {error}", "见证策略有误：{error}")
    WITNESS_REFUSES = ("{witness} does not cosign: {error}", "{witness} 拒绝联署：{error}")
    WITNESS_SILENT = ("{witness}: {error}", "联系不上见证方 {witness}：{error}")
    WITNESS_EMPTY = ("{witness} has cosigned nothing of this log", "{witness} 还没有联署过本账本")
    WITNESS_BEHIND = (
        "{witness} holds {cosigned} of {entries}; the next is {age} old",
        "{witness} 见到了 {entries} 条中的 {cosigned} 条；下一条已有 {age}",
    )
    LEDGER_BEHIND = (
        "{witness} has cosigned {cosigned}, the ledger here has {entries}: it is an older copy. Nothing may be signed "
        "from here before the others are back",
        "{witness} 已联署 {cosigned} 条，而本机账本只有 {entries} 条：这是旧副本。找回其余条目之前不得由此签署任何内容",
    )
    LEDGER_FORKED = (
        "{witness} has cosigned other entries than the first {cosigned} here, under this party's own signature: this "
        "is a second history",
        "{witness} 凭本方签名联署的条目与本机的前 {cosigned} 条不同：这是第二套历史",
    )
    QUORUM_NEVER = (
        "too few cosign for the policy, without {silent}; never reached: a party at work refuses calls after "
        "{allowed}, and one that starts, as a merchant's every command does, takes none before it is reached",
        "缺少 {silent}，联署的见证方不够策略所要求的，且从未够过：运行中的参与方在 {allowed}之后拒绝调用；"
        "刚启动的（数据商的每条命令都是启动）在够数之前不受理任何调用",
    )
    QUORUM_OLD = (
        "too few cosign for the policy, without {silent}; last reached {since} ago: a party at work refuses calls "
        "after {allowed}, and one that starts, as a merchant's every command does, takes none before it is reached",
        "缺少 {silent}，联署的见证方不够策略所要求的，上次够数是在 {since}前：运行中的参与方在 {allowed}之后拒绝调用；"
        "刚启动的（数据商的每条命令都是启动）在够数之前不受理任何调用",
    )
    LOG_FORKED = (
        "{party} has signed two histories of {origin}; proof {digest} is kept",
        "{party} 为 {origin} 签署了两套历史；证据 {digest} 已留存",
    )
    LOG_SHRUNK = (
        "{party} brought fewer entries of {origin} than before; {digest} is kept",
        "{party} 带来的 {origin} 条目比以前少；{digest} 已留存",
    )

    NOT_RUNNING = ("no process of this party runs: others cannot reach it", "本方服务没有运行：其他参与方联系不上本方")
    NOT_SERVING = (
        "it answers at {endpoint}, and says that it does not serve: a probe of its own fails",
        "它在 {endpoint} 有应答，但表示不提供服务：它的一项自检未通过",
    )
    SERVER_UNREACHABLE = (
        "it runs, and nobody answers at {endpoint}, which others dial: {error}",
        "服务在运行，但在其他参与方连接的 {endpoint} 无人应答：{error}",
    )
    PEER_UNREACHABLE = ("{party} cannot be reached: {error}", "联系不上 {party}：{error}")
    REGULATOR_NOT_SERVING = (
        "{party} answers, and says that it does not serve",
        "{party} 有应答，但表示不提供服务",
    )
    PEER_NOT_SERVING = ("{party} says that it does not serve", "{party} 表示不提供服务")
    DIRECTORY_NOT_GIVEN = ("it gave no directory: {error}", "监管方没有给出名录：{error}")
    DIRECTORY_OLD = (
        "{regulator} has version {newer} of the directory, version {installed} is installed here",
        "{regulator} 已有第 {newer} 版名录，本机所装的是第 {installed} 版",
    )

    DATA_REFUSED = ("the data cannot be served: {error}", "数据或声明有误，无法提供服务：{error}")
    DATA_VIOLATES = ("{dataset}: {violation}", "{dataset}：{violation}")
    NO_DATA = ("no data set is declared", "没有申报任何数据集")
    LEASE_ENDED = (
        "the lease of contract {contract} ended {since} ago: it takes no calls",
        "合约 {contract} 的租期已于 {since}前结束：不再受理调用",
    )
    LEASE_ENDS = ("the lease of contract {contract} ends in {left}", "合约 {contract} 的租期将在 {left}后结束")
    CALLS_SUSPENDED = (
        "{merchant} has {receipts} unacknowledged; its calls are refused until it has countersigned them",
        "{merchant} 有 {receipts} 份回执尚未会签；在其会签之前，其调用被拒绝",
    )
    RECEIPTS_OUTSTANDING = (
        "{merchant} has {receipts} unacknowledged; at {limit} its calls are refused",
        "{merchant} 有 {receipts} 份回执尚未会签；达到 {limit} 份时其调用会被拒绝",
    )
    CALLS_UNFINISHED = (
        "sent and not finished: {calls}, {late} of them past their deadline",
        "有 {calls} 次调用已发出而未完成，其中 {late} 次已过期限",
    )
    UNDELIVERED = ("messages that could not be delivered yet: {kinds}", "有消息尚未送达：{kinds}")
    UNDELIVERED_KIND = ("{count} of kind {kind}", "{kind} 类 {count} 条")

    REPLICA_DAMAGED = ("{path}: {error}", "账本副本 {path} 已损坏：{error}")
    REPLICA_BEHIND = (
        "{kept} of {cosigned} cosigned entries of {party} are here",
        "{party} 已见证的 {cosigned} 条中，本机有 {kept} 条",
    )
    PARTY_NEVER_HEARD = ("{party} has never had its log cosigned", "{party} 的账本从未被见证")
    PARTY_UNHEARD = (
        "{party} had its log cosigned {since} ago, and not since",
        "{party} 的账本上次被见证是在 {since}前，此后再没有",
    )
    CERTIFICATES_UNREADABLE = ("{party}'s certificates: {error}", "{party} 的证书无法检查：{error}")
    PARTY_CERTIFICATE_EXPIRES = (
        "the newest certificate of {party} ends on {until}; a running party renews it itself",
        "{party} 最新的证书于 {until} 到期；运行中的参与方会自行更新",
    )
