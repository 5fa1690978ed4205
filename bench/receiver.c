/* A fast mail relay for benchmarks: epoll, one thread. Logs "recipient message-id" for each message that it accepts.
   receiver PORT LOG PIPELINING(0|1) DELAY_MS: every reply is sent DELAY_MS after its command. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

struct conn { int fd, in_data, dead, owed; size_t len, scan, out; char rcpt[400], id[400], say[8192], in[1 << 18]; };
struct late { double due; struct conn *conn; char *text; size_t len; struct late *next; };
static struct late *first, *last;
static FILE *log_file;
static int delay, pipelining, polling;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e3 + t.tv_nsec / 1e6; }

static void drop(struct conn *c) {
    if (!c->dead) { c->dead = 1; close(c->fd); }
    if (!c->owed) free(c);
}

static void say(struct conn *c, const char *text) {
    size_t n = strlen(text);
    if (c->out + n < sizeof c->say) { memcpy(c->say + c->out, text, n); c->out += n; }
}

static void flush(struct conn *c) {
    if (!c->out) return;
    if (!delay) {
        if (write(c->fd, c->say, c->out) < 0) c->in_data = -1;
    } else {
        struct late *l = malloc(sizeof *l);
        *l = (struct late){now() + delay, c, memcpy(malloc(c->out), c->say, c->out), c->out, NULL};
        c->owed++;
        if (last) last->next = l; else first = l;
        last = l;
    }
    c->out = 0;
}

static void between(char *to, size_t room, const char *from, char open, char close_) {
    const char *a = strchr(from, open), *b = a ? strchr(a, close_) : NULL;
    size_t n = a && b ? (size_t)(b - a - 1) : 0;
    if (n >= room) n = room - 1;
    if (n) memcpy(to, a + 1, n);
    to[n] = 0;
}

static void command(struct conn *c, char *line) {
    if (!strncasecmp(line, "EHLO", 4))
        say(c, pipelining ? "250-bench\r\n250-PIPELINING\r\n250 8BITMIME\r\n" : "250-bench\r\n250 8BITMIME\r\n");
    else if (!strncasecmp(line, "RCPT", 4)) { between(c->rcpt, sizeof c->rcpt, line, '<', '>'); say(c, "250 ok\r\n"); }
    else if (!strncasecmp(line, "DATA", 4)) { c->in_data = 1; say(c, "354 go on\r\n"); }
    else if (!strncasecmp(line, "QUIT", 4)) say(c, "221 bye\r\n"); /* the client closes the connection */
    else say(c, "250 ok\r\n");
}

static void heard(struct conn *c) {
    char *at = c->in, *end = c->in + c->len, *stop;
    *end = 0;
    while (at < end && c->in_data >= 0) {
        if (c->in_data) {
            char *from = at + (c->scan > 4 ? c->scan - 4 : 0);
            stop = memmem(from, end - from, "\r\n.\r\n", 5);
            if (!stop) { c->scan = end - at; break; }
            *stop = 0;
            char *id = strcasestr(at, "Message-ID:");
            if (id) between(c->id, sizeof c->id, id, '<', '>'); else c->id[0] = 0;
            fprintf(log_file, "%s %s\n", c->rcpt, c->id);
            say(c, "250 taken\r\n");
            c->in_data = 0; c->scan = 0; at = stop + 5;
        } else {
            stop = memchr(at, '\n', end - at);
            if (!stop) break;
            *stop = 0;
            command(c, at);
            at = stop + 1;
        }
    }
    c->len = end - at;
    memmove(c->in, at, c->len);
}

int main(int argc, char **argv) {
    (void)argc;
    int server = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    signal(SIGPIPE, SIG_IGN);
    log_file = fopen(argv[2], "w"); pipelining = atoi(argv[3]); delay = atoi(argv[4]);
    setvbuf(log_file, NULL, _IOFBF, 1 << 16);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server, (struct sockaddr *)&place, sizeof place) || listen(server, 1024)) { perror("receiver"); return 1; }
    polling = epoll_create1(0);
    epoll_ctl(polling, EPOLL_CTL_ADD, server, &event);
    puts("ready"); fflush(stdout);
    for (;;) {
        double wait = first ? first->due - now() : -1;
        int n = epoll_wait(polling, events, 256, first ? (wait > 0 ? (int)wait + 1 : 0) : 500);
        if (!n && !first) fflush(log_file);
        while (first && first->due <= now()) {
            struct late *l = first;
            first = l->next; if (!first) last = NULL;
            l->conn->owed--;
            if (!l->conn->dead && write(l->conn->fd, l->text, l->len) < 0) l->conn->in_data = -1;
            if (l->conn->dead && !l->conn->owed) free(l->conn);
            free(l->text); free(l);
        }
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c) {
                c = calloc(1, sizeof *c);
                c->fd = accept4(server, NULL, NULL, SOCK_NONBLOCK);
                setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                struct epoll_event mine = {.events = EPOLLIN, .data.ptr = c};
                epoll_ctl(polling, EPOLL_CTL_ADD, c->fd, &mine);
                say(c, "220 bench ESMTP\r\n"); flush(c);
                continue;
            }
            ssize_t got = read(c->fd, c->in + c->len, sizeof c->in - 1 - c->len);
            if (got > 0) { c->len += got; heard(c); flush(c); }
            if (got == 0 || c->in_data < 0) drop(c);
        }
    }
}
