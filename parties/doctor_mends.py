"""What mends what a doctor finds, each sentence in English and Chinese; commands are the same in both."""

from parties.doctor_words import Sentence


class Mend(Sentence):
    """What to do, in the order of the checks."""

    OTHERS_FIRST = ("mend what the other findings say first", "请先处理其他各项")
    SETTINGS = ("mend that line; --home names the home", "请改正该行；主目录由 --home 指定")

    CHOWN_LIKE_HOME = ("chown --reference={home} {path}", "chown --reference={home} {path}")
    KEY_FILE_BACK = (
        "put it back from where the keys are kept, or restore a backup with keys: unseen restore; lost for good: "
        "unseen keys rotate, or for tls.pem unseen certificate renew --out FILE",
        "请从保存密钥之处取回，或恢复含密钥的备份：unseen restore；若已彻底丢失：unseen keys rotate，"
        "tls.pem 则用 unseen certificate renew --out FILE",
    )
    ENROL = ("unseen enrol accept BUNDLE {at_home}", "unseen enrol accept BUNDLE {at_home}")
    CLOSE_HOME = ("chmod go-w {path}", "chmod go-w {path}")
    CLOSE_FILE = ("chmod go= {path}", "chmod go= {path}")
    MAKE_ROOM = ("make room", "请腾出空间")
    MAKE_ROOM_OR_MOVE = ("make room, or move the home to a larger disk", "请腾出空间，或将主目录移到更大的磁盘")
    FEWER_FILES = ("take away small files there", "请清理那里的小文件")
    REMOUNT = ("chown and remount {path}", "请用 chown 更正 {path} 的属主，并以可写方式重新挂载")
    END_READERS = (
        "end programs that hold the database open, then restart the party",
        "请结束仍打开着该数据库的程序，然后重新启动本方",
    )

    COMPARE_VKEY = (
        "compare [regulator] vkey with the regulator by telephone, and accept its bundle anew",
        "请通过电话与监管方核对 [regulator] vkey，并重新接受其入册包",
    )
    REFETCH_DIRECTORY = (
        "see that the regulator can be reached; a running party fetches the newest within a minute",
        "请确认可以联系上监管方；运行中的参与方会在一分钟内取得最新名录",
    )
    SERVE_RENEWS = ("unseen serve {at_home}, which renews it", "unseen serve {at_home}（会更新名录）")
    ENDPOINT = (
        "set [network] endpoint back, or have the regulator list the new one",
        "请将 [network] endpoint 改回，或请监管方在名录中登记新地址",
    )

    UNLOCK = (
        "give --passphrase-file, or set UNSEEN_PASSPHRASE",
        "请用 --passphrase-file 给出口令，或设置 UNSEEN_PASSPHRASE",
    )
    KEY_BACK = (
        "put it back from where the keys are kept, or restore a backup with keys; lost for good: unseen keys rotate",
        "请从保存密钥之处取回，或恢复含密钥的备份；若已彻底丢失：unseen keys rotate",
    )
    ENCRYPT = (
        "unseen keys encrypt {at_home}, while it is stopped; keep earlier backups as you keep keys",
        "请先停止本方，再执行 unseen keys encrypt {at_home}；较早的备份须像密钥一样保管",
    )
    LISTED_KEY_BACK = (
        "put the listed key back; or fetch the newest directory, if the key is new",
        "请放回名录所列的密钥；若密钥是新的，请取得最新名录",
    )
    NEWER_KEY_BACK = (
        "put the newer key in place: an older backup may have been restored",
        "请放回更新的密钥：可能恢复了较旧的备份",
    )
    ROTATE = ("unseen keys rotate {at_home}", "unseen keys rotate {at_home}")
    ROTATE_AND_SPEAK = (
        "unseen keys rotate {at_home}, and speak with the regulator",
        "unseen keys rotate {at_home}，并与监管方联系",
    )
    NO_WEAK_KEYS = (
        "take [compute] unsafe_minimum_modulus_bits out of {path}",
        "请从 {path} 中去掉 [compute] unsafe_minimum_modulus_bits",
    )
    P256 = ("have the certificate authority issue one on P-256", "请由证书机构签发 P-256 的证书")
    PAILLIER_BACK = (
        "restore it from a backup, or move it away: then a new one is made",
        "请从备份恢复；或将其移走，之后会生成新的密钥",
    )
    LONGER_PAILLIER = (
        "set paillier_bits = {recommended} or more, and move {file} away when no call is open",
        "请设置 paillier_bits = {recommended} 或更大，并在没有未完成的调用时移走 {file}",
    )

    RENEW = ("unseen certificate renew {at_home}", "unseen certificate renew {at_home}")
    RENEW_AND_SPEAK = (
        "unseen certificate renew {at_home}, and speak with it",
        "unseen certificate renew {at_home}，并与监管方联系",
    )
    TLS_PAIR_BACK = (
        "put back the pair of keys/tls.pem and certificate.pem that belongs together, or: "
        "unseen certificate renew {at_home}",
        "请放回配套的 keys/tls.pem 和 certificate.pem，或执行：unseen certificate renew {at_home}",
    )

    START_WITHOUT_LEDGER = (
        "start the party, unless it had a ledger before",
        "若以前没有账本，请启动本方；若有过，请先找回",
    )
    VERIFY_AND_RESTORE = (
        "unseen ledger verify {at_home}, then unseen restore the newest backup into a new home",
        "请执行 unseen ledger verify {at_home}，然后用 unseen restore 将最新备份恢复到新的主目录",
    )
    OWN_LEDGER_BACK = ("put this party's own ledger.db back", "请放回本方自己的 ledger.db")
    START_TO_CATCH_UP = (
        "start the party while its witnesses can be reached",
        "请在可以联系上见证方时启动本方",
    )
    RESTORE_BOTH = (
        "unseen restore a backup, which has both, into a new home",
        "请用 unseen restore 将备份（两者都在其中）恢复到新的主目录",
    )
    RESTORE = (
        "unseen restore the newest backup into a new home",
        "请用 unseen restore 将最新备份恢复到新的主目录",
    )
    VAULT_BACK = (
        "if there is a newer vault.db, stop the party and put it back; back both up together: unseen backup",
        "若有更新的 vault.db，请停止本方并放回；今后请用 unseen backup 一并备份两者",
    )
    SET_CLOCK = (
        "set the clock and keep it by NTP: timedatectl set-ntp true",
        "请校准时钟并用 NTP 保持：timedatectl set-ntp true",
    )
    CLOCK_UNKNOWN = (
        "see what is said of the witnesses; meanwhile: timedatectl status",
        "请看见证方一项；同时可执行：timedatectl status",
    )

    POLICY = (
        "write {path} after c2sp.org/tlog-policy, or take it away: then the regulator witnesses",
        "请按 c2sp.org/tlog-policy 改写 {path}，或将其移走：移走后由监管方见证",
    )
    STOP_UNTIL_CLEAR = (
        "stop the party until it is clear why: an older or another ledger may have been put in place",
        "请停止本方，直到查明原因：可能放入了较旧的或另一本账本",
    )
    WITNESS_BACK = (
        "see that {witness} runs and can be reached; unseen witness policy {at_home} shows who is needed",
        "请确认 {witness} 在运行且可以联系上；unseen witness policy {at_home} 显示需要哪些见证方",
    )
    START_TO_ASK = ("start the party, which asks it", "请启动本方，它会请求联署")
    START_TO_SHOW = ("start the party, which shows it the rest", "请启动本方，它会出示其余条目")
    TAKE_BACK = (
        "start the party: it takes them back from the regulator; or put the newest home in place",
        "请启动本方：它会从监管方取回这些条目；或放回最新的主目录",
    )
    KEEP_BOTH_HOMES = (
        "stop the party, keep both homes, put the one that was witnessed back, and tell the regulator",
        "请停止本方，保留两个主目录，放回经过见证的那个，并告知监管方",
    )
    WITNESSES_BACK = (
        "bring the witnesses back, or name others in the policy",
        "请让见证方恢复，或在策略中指定其他见证方",
    )
    SUSPEND_FORKED = (
        "unseen contract suspend each of its contracts, and unseen witness evidence {at_home}",
        "请用 unseen contract suspend 暂停其各份合约，并执行 unseen witness evidence {at_home}",
    )
    ASK_OF_OLDER_COPY = (
        "ask {party} whether an older copy was restored; a proof it is not",
        "请询问 {party} 是否恢复了较旧的副本；这还不是证据",
    )

    SERVE = ("unseen serve {at_home}", "unseen serve {at_home}")
    READ_LOG = ("read the other findings here, and its log", "请看这里的其他各项及其日志")
    LOOK_AT_NETWORK = (
        "look at [network] endpoint and listen, at firewalls, and whether this machine may dial itself",
        "请检查 [network] 的 endpoint 和 listen、防火墙，以及本机能否连接自己的地址",
    )
    ASK_REGULATOR = (
        "ask {regulator}; calls end with their contracts' leases, minutes after it was last heard",
        "请联系 {regulator}；在最后一次得到其消息的数分钟之后，调用会随合约租期结束而停止",
    )
    ASK_FOR_DOCTOR = ("ask {party}: unseen doctor tells it why", "请联系 {party}：unseen doctor 会告诉它原因")
    ASK = ("ask {party}", "请联系 {party}")
    FETCH_DIRECTORY = (
        "start the party: it fetches the newest within a minute",
        "请启动本方：它会在一分钟内取得最新名录",
    )
    ASK_PEER = (
        "ask {party}: calls that need it end without an answer",
        "请联系 {party}：需要它的调用得不到结果",
    )

    MEND_DATA = ("mend it, then: unseen catalog check {at_home}", "请改正，然后执行：unseen catalog check {at_home}")
    CHECK_DATA = ("unseen catalog check {at_home}", "unseen catalog check {at_home}")
    DECLARE = (
        "write {folder}/NAME.toml after examples/catalog.toml",
        "请参照 examples/catalog.toml 编写 {folder}/NAME.toml",
    )
    REGULATOR_BACK = (
        "bring the regulator back; a running party renews the lease by itself",
        "请让监管方恢复；运行中的参与方会自行续租",
    )
    REACH_REGULATOR = ("see that the regulator can be reached", "请确认可以联系上监管方")
    ASK_TO_RESUME = ("ask {merchant} to run: unseen resume", "请 {merchant} 执行：unseen resume")
    RESUME = ("unseen resume {at_home}", "unseen resume {at_home}")
    SEND_AGAIN = (
        "bring the other party back; they are sent again by: unseen {command} {at_home}",
        "请让对方恢复；重新发送请执行：unseen {command} {at_home}",
    )

    REPLICA_COMES = (
        "nothing, where {party} is running: it sends them; else ask it to start",
        "若 {party} 在运行，无须处理：它会送来；否则请它启动",
    )
    REPLICA_ANEW = (
        "move {folder} away: {party} then sends its entries anew; unseen ledger verify {path} says more",
        "请移走 {folder}：{party} 会重新送来条目；详情请执行 unseen ledger verify {path}",
    )
    ASK_TO_EXAMINE = ("ask {party} to run: unseen doctor", "请 {party} 执行：unseen doctor")
    RESTORE_FILE = ("restore it from the backup", "请从备份恢复")
    ASK_TO_RENEW = (
        "ask {party} to start, or to run: unseen certificate renew",
        "请 {party} 启动，或执行：unseen certificate renew",
    )
