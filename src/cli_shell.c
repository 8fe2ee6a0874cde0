/*
 * cli_shell.c — the interactive client: a line editor with history, completion and hints.
 *
 * Signals arrive as something to read (signalfd), in every wait: Ctrl-C drops the line being
 * typed, the wait for a reply, or the rest of a long output, and never the shell.  Lines that hold
 * a password do not go into the history.
 *
 * A connection that was lost is made again before the next command.  A command that was under way
 * when it was lost is not sent twice: it may have run.
 */
#include "cli.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_LINES = 1000, HINT_BYTES = 256, CANDIDATES_MAX = 1000, TYPED_BYTES_MAX = 128 };

struct shell {
    struct cli *cli;
    EditLine *editor;
    History *history;
    char *history_path; /* owned; NULL: not kept */
    int interrupts;     /* signalfd of Ctrl-C */
    int changes;        /* signalfd: the window's size changed, or we were stopped and go on */
    bool was_interrupted;
    bool is_over;
    char prompt[160];
    char hint[HINT_BYTES];
    struct cli_args args;
};

static char *prompt_text(EditLine *editor);
static char *hint_text(EditLine *editor);
static int character_read(EditLine *editor, wchar_t *out);
static unsigned char completion(EditLine *editor, int key);
static unsigned char space(EditLine *editor, int key);
static void line_run(struct shell *shell, struct slice line);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

static void history_open(struct shell *shell)
{
    HistEvent event;
    shell->history = history_init();
    (void)history(shell->history, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(shell->history, &event, H_SETUNIQUE, 1);
    const char *path = getenv("MINIDB_HISTFILE");
    const char *home = getenv("HOME");
    struct buffer text = { 0 };
    if (path != NULL && path[0] != '\0') {
        buffer_append_text(&text, path);
    } else if (path == NULL && home != NULL) {
        buffer_printf(&text, "%s/.minidb_history", home);
    }
    if (text.size > 0) {
        buffer_append_byte(&text, '\0');
        shell->history_path = text.data; /* the buffer's memory is the shell's now */
        (void)history(shell->history, &event, H_LOAD, shell->history_path);
    }
}

static void history_keep(struct shell *shell, const char *line)
{
    HistEvent event;
    (void)history(shell->history, &event, H_ENTER, line);
    if (shell->history_path != NULL) {
        mode_t before = umask(0077);
        (void)history(shell->history, &event, H_SAVE, shell->history_path);
        (void)umask(before);
    }
}

static void editor_open(struct shell *shell)
{
    EditLine *editor = el_init("minidb-cli", stdin, stdout, stderr);
    shell->editor = editor;
    (void)el_set(editor, EL_CLIENTDATA, shell);
    (void)el_set(editor, EL_PROMPT, prompt_text);
    (void)el_set(editor, EL_RPROMPT_ESC, hint_text, '\1');
    (void)el_set(editor, EL_EDITOR, "emacs");
    (void)el_set(editor, EL_HIST, history, shell->history);
    (void)el_set(editor, EL_GETCFN, character_read);
    (void)el_set(editor, EL_ADDFN, "cli-complete", "complete a command", completion);
    (void)el_set(editor, EL_ADDFN, "cli-space", "insert a space, renew the hint", space);
    (void)el_set(editor, EL_BIND, "^I", "cli-complete", NULL);
    (void)el_set(editor, EL_BIND, " ", "cli-space", NULL);
    (void)el_set(editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_source(editor, NULL);
}

static int signals_block(int first, int second)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, first);
    (void)sigaddset(&signals, second);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void signals_open(struct shell *shell)
{
    shell->interrupts = signals_block(SIGINT, SIGINT);
    shell->changes = signals_block(SIGWINCH, SIGCONT);
    shell->cli->conn.cancel_fd = shell->interrupts;
}

static void shell_close(struct shell *shell)
{
    el_end(shell->editor);
    history_end(shell->history);
    mem_free(shell->history_path);
    cli_args_free(&shell->args);
    shell->cli->conn.cancel_fd = -1;
    (void)close(shell->interrupts);
    (void)close(shell->changes);
}

/* ── the loop ────────────────────────────────────────────────────────────────────────────────── */

/* Takes pending signals away; true when there were any. */
static bool signals_take(int fd)
{
    struct signalfd_siginfo signal;
    bool any = false;
    while (read(fd, &signal, sizeof(signal)) == (ssize_t)sizeof(signal)) {
        any = true;
    }
    return any;
}

/* Connects, and says so when it was connected before. */
static bool shell_connect(struct shell *shell, bool is_again)
{
    struct cli *cli = shell->cli;
    if (cli_conn_open(&cli->conn) < 0) {
        printf("could not connect to %s\n", cli->conn.error);
        return false;
    }
    cli_help_load(&cli->help, &cli->conn);
    if (is_again) {
        char name[128];
        cli_conn_name(&cli->conn, name, sizeof(name));
        printf("connected to %s\n", name);
    }
    return true;
}

static void prompt_make(struct shell *shell)
{
    char name[128];
    cli_conn_name(&shell->cli->conn, name, sizeof(name));
    (void)snprintf(shell->prompt, sizeof(shell->prompt), "%s%s> ", name,
                   shell->cli->conn.fd < 0 ? " (not connected)" : "");
}

int cli_shell_run(struct cli *cli)
{
    struct shell shell = { .cli = cli };
    signals_open(&shell);
    history_open(&shell);
    editor_open(&shell);
    if (!shell_connect(&shell, /* is_again= */ false)) {
        cli_help_load(&cli->help, &cli->conn);
    }
    while (!shell.is_over) {
        prompt_make(&shell);
        shell.was_interrupted = false;
        int size = 0;
        const char *line = el_gets(shell.editor, &size);
        if (line == NULL || size <= 0) {
            shell.is_over = !shell.was_interrupted;
            (void)fputs(shell.was_interrupted ? "^C\n" : "\n", stdout);
            continue;
        }
        line_run(&shell, slice_make(line, (size_t)size));
        (void)signals_take(shell.interrupts);
    }
    shell_close(&shell);
    return EXIT_SUCCESS;
}

/* ── running a line ──────────────────────────────────────────────────────────────────────────── */

static bool is_command(const struct shell *shell, const char *name)
{
    return shell->args.count > 0 && slice_equal_nocase(shell->args.items[0], name);
}

/* True when the server has closed the connection while nobody looked. */
static bool is_gone(const struct cli_conn *conn)
{
    char byte = 0;
    ssize_t size = conn->fd < 0 ? 0 : recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
}

static bool connection_ready(struct shell *shell)
{
    if (!is_gone(&shell->cli->conn)) {
        return true;
    }
    if (shell->cli->conn.fd >= 0) {
        printf("the connection was lost\n");
    }
    return shell_connect(shell, /* is_again= */ true);
}

static void reply_show(struct shell *shell)
{
    struct cli *cli = shell->cli;
    struct buffer out = { 0 };
    cli_print(&out, cli->style, &cli->conn.parser.reply, shell->args.items, shell->args.count);
    cli_write(cli, buffer_slice(&out));
    buffer_free(&out);
    bool logged_in = is_command(shell, "auth") && !cli_reply_is_error(cli);
    cli_watch(cli, shell->args.items, shell->args.count);
    if (logged_in) {
        struct slice hello[2] = { slice_from("HELLO"), slice_from("3") };
        if (cli->conn.wants_resp3 && !cli->conn.is_resp3 &&
            cli_conn_command(&cli->conn, hello, 2) == 0) {
            cli->conn.is_resp3 = !cli_reply_is_error(cli);
        }
        cli_help_load(&cli->help, &cli->conn);
    }
}

static void command_send(struct shell *shell)
{
    struct cli_conn *conn = &shell->cli->conn;
    const char *refusal = cli_refusal(shell->args.items, shell->args.count);
    if (refusal != NULL) {
        printf("%s\n", refusal);
        return;
    }
    if (!connection_ready(shell)) {
        return;
    }
    int result = cli_conn_command(conn, shell->args.items, shell->args.count);
    if (result == 0) {
        reply_show(shell);
    } else if (is_command(shell, "shutdown")) {
        printf("the server has stopped\n");
    } else {
        printf("%s; the command may have run or not\n", conn->error);
        (void)signals_take(shell->interrupts);
        (void)shell_connect(shell, /* is_again= */ true);
    }
}

static void connect_run(struct shell *shell)
{
    const struct cli_args *args = &shell->args;
    uint64_t port = CLI_PORT_DEFAULT;
    bool ok = args->count == 2 || (args->count == 3 && text_to_u64(args->items[2], &port));
    if (!ok || port == 0 || port > UINT16_MAX) {
        printf("usage: connect host [port]\n");
        return;
    }
    cli_conn_target(&shell->cli->conn, args->items[1], (uint16_t)port);
    (void)shell_connect(shell, /* is_again= */ true);
}

static void help_run(struct shell *shell)
{
    struct buffer out = { 0 };
    cli_help_print(&shell->cli->help, shell->args.items + 1, shell->args.count - 1, &out);
    cli_write(shell->cli, buffer_slice(&out));
    buffer_free(&out);
}

static void line_run(struct shell *shell, struct slice line)
{
    if (!cli_args_split(&shell->args, line)) {
        printf("unbalanced quotes\n");
        return;
    }
    if (shell->args.count == 0) {
        return;
    }
    if (!cli_is_secret(&shell->args)) {
        history_keep(shell, line.data); /* ends with a NUL, as el_gets has it */
    }
    if (is_command(shell, "quit") || is_command(shell, "exit")) {
        shell->is_over = true;
    } else if (is_command(shell, "help") || is_command(shell, "?")) {
        help_run(shell);
    } else if (is_command(shell, "clear")) {
        (void)fputs("\033[H\033[2J", stdout);
    } else if (is_command(shell, "connect")) {
        connect_run(shell);
    } else {
        command_send(shell);
    }
}

/* ── what the line editor asks for ───────────────────────────────────────────────────────────── */

static struct shell *shell_of(EditLine *editor)
{
    struct shell *shell = NULL;
    (void)el_get(editor, EL_CLIENTDATA, &shell);
    return shell;
}

static char *prompt_text(EditLine *editor)
{
    return shell_of(editor)->prompt;
}

static int columns_count(void)
{
    struct winsize size = { 0 };
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* The syntax of the command being typed, on the right, as far as there is room for it.  The escape
 * that ends the colour needs a character behind it: libedit ties it to that. */
static char *hint_text(EditLine *editor)
{
    struct shell *shell = shell_of(editor);
    const LineInfo *info = el_line(editor);
    size_t typed = (size_t)(info->lastchar - info->buffer);
    shell->hint[0] = '\0';
    struct cli_args args = { 0 };
    bool is_begun = typed > 0 && memchr(info->buffer, ' ', typed) != NULL &&
                    cli_args_split(&args, slice_make(info->buffer, typed));
    const struct cli_command *command =
        is_begun ? cli_help_find(&shell->cli->help, args.items, args.count) : NULL;
    cli_args_free(&args);
    long room = columns_count() - (long)strlen(shell->prompt) - (long)typed - 6;
    if (command != NULL && command->syntax[0] != '\0' && room >= 12) {
        long size = (long)strlen(command->syntax);
        bool is_cut = size > room;
        room = room < HINT_BYTES - 32 ? room : HINT_BYTES - 32;
        (void)snprintf(shell->hint, sizeof(shell->hint), "\1\033[90m\1%.*s%s\1\033[0m\1 ",
                       (int)(is_cut ? room - 3 : room), command->syntax, is_cut ? "..." : "");
    }
    return shell->hint;
}

/* Reads one character, in whatever bytes it comes; a Ctrl-C ends the line.  NUL is passed over: the
 * editor would quote what follows, and take the next Ctrl-D for text. */
static int character_read(EditLine *editor, wchar_t *out)
{
    struct shell *shell = shell_of(editor);
    mbstate_t state = { 0 };
    for (;;) {
        struct pollfd fds[3] = { { .fd = STDIN_FILENO, .events = POLLIN },
                                 { .fd = shell->interrupts, .events = POLLIN },
                                 { .fd = shell->changes, .events = POLLIN } };
        if (poll(fds, 3, -1) < 0 && errno != EINTR) {
            return -1;
        }
        if (fds[2].revents != 0 && signals_take(shell->changes)) {
            el_resize(editor);
            (void)el_set(editor, EL_PREP_TERM, 1);
            (void)el_set(editor, EL_REFRESH);
        }
        if (fds[1].revents != 0 && signals_take(shell->interrupts)) {
            shell->was_interrupted = true;
            errno = EINTR;
            return -1;
        }
        char byte = 0;
        if (fds[0].revents == 0) {
            continue;
        }
        if (read(STDIN_FILENO, &byte, 1) <= 0) {
            return 0;
        }
        if (byte == '\0') {
            continue; /* how the terminal keeps a Ctrl-D typed while a command ran */
        }
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-1) {
            memset(&state, 0, sizeof(state)); /* not a character of this locale: pass it over */
        } else if (used != (size_t)-2) {
            return 1;
        }
    }
}

static unsigned char space(EditLine *editor, int key)
{
    (void)key;
    return el_insertstr(editor, " ") == 0 ? CC_REFRESH : CC_ERROR;
}

/* ── completion ──────────────────────────────────────────────────────────────────────────────── */

/* What is completed: the words from the start of the line (behind `help`) to the cursor, with one
 * space between them. */
static struct slice completion_typed(const LineInfo *info, char out[TYPED_BYTES_MAX])
{
    size_t size = 0;
    for (const char *c = info->buffer; c < info->cursor && size < TYPED_BYTES_MAX; c++) {
        bool is_extra = *c == ' ' && (size == 0 || out[size - 1] == ' ');
        if (!is_extra) {
            out[size++] = *c;
        }
    }
    bool is_help = size >= 5 && strncasecmp(out, "help ", 5) == 0;
    return is_help ? slice_make(out + 5, size - 5) : slice_make(out, size);
}

/* Inserts what all candidates share beyond what is typed, in the case it was begun in. */
static void common_insert(EditLine *editor, struct slice typed, const char *first, size_t common,
                          bool is_only)
{
    char text[128];
    size_t size = 0;
    char last = typed.size > 0 ? typed.data[typed.size - 1] : 'A';
    char begun = typed.size > 0 ? typed.data[0] : 'A';
    bool is_lower = last >= 'a' || (last == ' ' && begun >= 'a');
    for (size_t i = typed.size; i < common && size < sizeof(text) - 2; i++) {
        char c = first[i];
        text[size++] = is_lower && c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    if (is_only) {
        text[size++] = ' ';
    }
    text[size] = '\0';
    if (size > 0) {
        (void)el_insertstr(editor, text);
    }
}

static void candidates_print(const struct cli_help *help, struct slice typed, uint32_t count)
{
    size_t width = 1;
    for (uint32_t i = 0; i < count; i++) {
        size_t size = strlen(cli_help_candidate(help, typed, i));
        width = size > width ? size : width;
    }
    uint32_t columns = (uint32_t)columns_count() / ((uint32_t)width + 2);
    columns = columns > 0 ? columns : 1;
    for (uint32_t i = 0; i < count; i++) {
        bool is_last = i + 1 == count || i % columns == columns - 1;
        printf("%s%-*s%s", i == 0 ? "\n" : "", is_last ? 1 : (int)width + 2,
               cli_help_candidate(help, typed, i), is_last ? "\n" : "");
    }
    (void)fflush(stdout);
}

static unsigned char completion(EditLine *editor, int key)
{
    (void)key;
    const struct cli_help *help = &shell_of(editor)->cli->help;
    char text[TYPED_BYTES_MAX];
    struct slice typed = completion_typed(el_line(editor), text);
    const char *first = cli_help_candidate(help, typed, 0);
    if (first == NULL) {
        return CC_REFRESH_BEEP;
    }
    size_t common = strlen(first);
    uint32_t count = 1;
    const char *other = NULL;
    while (count < CANDIDATES_MAX && (other = cli_help_candidate(help, typed, count)) != NULL) {
        size_t same = 0;
        while (same < common && other[same] == first[same]) {
            same++;
        }
        common = same;
        count++;
    }
    if (count == 1 || common > typed.size) {
        common_insert(editor, typed, first, common, count == 1);
        return CC_REFRESH;
    }
    candidates_print(help, typed, count);
    return CC_REDISPLAY;
}
