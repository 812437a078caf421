/*
 * The C run-time library of programs for ARM64 that are built on Linux, where there is no other: mingw-w64 in Debian
 * has none, and Microsoft's comes with Visual Studio. It is as much of one as Rust's standard library asks for: an
 * entry point, thread-local storage, and the probe of large stack frames. memcpy and its like come from ntdll.dll.
 */

/* The linker wants this symbol in every image that uses floating point. */
int _fltused = 1;

/*
 * Thread-local storage. The linker sorts sections by what follows the dollar sign, so the initial values of all
 * variables lie between _tls_start and _tls_end, and the functions that are called as threads come and go, Rust's
 * destructors among them, between xl_a and xl_z. The loader finds all that through _tls_used.
 */
typedef void (*tls_callback)(void *image, unsigned long reason, void *reserved);

#pragma section(".tls", read, write)
#pragma section(".tls$ZZZ", read, write)
#pragma section(".CRT$XLA", read)
#pragma section(".CRT$XLZ", read)
#pragma section(".rdata$T", read)

unsigned int _tls_index;
__declspec(allocate(".tls")) char _tls_start = 0;
__declspec(allocate(".tls$ZZZ")) char _tls_end = 0;
static __declspec(allocate(".CRT$XLA")) const tls_callback xl_a = 0;
static __declspec(allocate(".CRT$XLZ")) __attribute__((used)) const tls_callback xl_z = 0;

/* IMAGE_TLS_DIRECTORY64 */
__declspec(allocate(".rdata$T")) const struct {
    char *start;
    char *end;
    unsigned int *index;
    const tls_callback *callbacks;
    unsigned int zeros;
    unsigned int characteristics;
} _tls_used = {&_tls_start, &_tls_end, &_tls_index, &xl_a + 1, 0, 0};

/* Named by the type information of panics. They abort, so it is never followed. */
const void *const type_info_vftable __asm__("??_7type_info@@6B@") = 0;

int main(int count, char **arguments);
__declspec(dllimport) __declspec(noreturn) void ExitProcess(unsigned int code);

/* Rust asks the system for the command line. */
__declspec(noreturn) void mainCRTStartup(void)
{
    ExitProcess((unsigned int)main(0, 0));
}

/*
 * Called in front of a frame above 4 KiB, with its size in units of 16 bytes in x15: touches each page from the top
 * down, so that the guard page behind the stack moves on. It may change x16, x17 and the flags alone.
 */
__asm__(".text\n"
        ".globl __chkstk\n"
        "__chkstk:\n"
        "    lsl x16, x15, #4\n"
        "    mov x17, sp\n"
        "1:  subs x16, x16, #4096\n"
        "    b.lo 2f\n"
        "    sub x17, x17, #4096\n"
        "    ldr xzr, [x17]\n"
        "    b 1b\n"
        "2:  ret\n");
