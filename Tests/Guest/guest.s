# A self-verifying guest in one boot sector.
#
# Every pass adds one to a word in each page of 1 MiB..END_MIB MiB, after checking that the word still holds what the
# last pass left there. A page's word is its own address plus the number of passes, so a page that was lost, is stale
# or lies in the wrong place is found. A pass prints the next letter of a..z on COM1; a mismatch prints 'X' and halts.
#
# Symbols, set with --defsym:
#   END_MIB   first MiB that is left alone; at least 4 MiB below the end of RAM, where the firmware keeps its tables
#   PAUSE     ticks of 10 ms to sleep between passes

        .set    COM1, 0x3f8
        .set    FIRST_PAGE, 0x100000
        .set    END, END_MIB << 20
        .set    PIT_HZ, 1193182
        .set    IDT, 0x8000             # only vector 8, the timer, is filled in

        .code16
        .globl  _start
_start: cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        inb     $0x92, %al              # address line 20, without which odd megabytes alias even ones
        orb     $2, %al
        outb    %al, $0x92
        lgdt    gdt_register
        lidt    idt_register
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmp    $8, $flat

        .code32
flat:   movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movl    $0x7c00, %esp

        movl    $0x80000 + tick, IDT + 8 * 8    # selector 8, offset below 64 KiB
        movl    $0x8e00, IDT + 8 * 8 + 4        # present 32-bit interrupt gate
        movb    $0xfe, %al              # of all interrupts only the timer's
        outb    %al, $0x21
        movb    $0xff, %al
        outb    %al, $0xa1
        movb    $0x34, %al              # PIT channel 0, low then high byte, rate generator
        outb    %al, $0x43
        movb    $(PIT_HZ / 100) & 0xff, %al
        outb    %al, $0x40
        movb    $(PIT_HZ / 100) >> 8, %al
        outb    %al, $0x40
        sti

        movl    $FIRST_PAGE, %edi
first:  movl    %edi, (%edi)            # pass 0: the word is the address
        addl    $0x1000, %edi
        cmpl    $END, %edi
        jb      first

        xorl    %ebx, %ebx              # passes done
pass:   movl    $FIRST_PAGE, %edi
page:   leal    (%edi, %ebx), %eax
        cmpl    %eax, (%edi)
        jne     bad
        incl    (%edi)
        addl    $0x1000, %edi
        cmpl    $END, %edi
        jb      page

        movl    %ebx, %eax
        incl    %ebx
        xorl    %edx, %edx
        movl    $26, %ecx
        divl    %ecx
        movb    %dl, %al
        addb    $'a', %al
        movw    $COM1, %dx
        outb    %al, %dx

        movl    $PAUSE, %ecx
sleep:  jecxz   pass
        hlt
        decl    %ecx
        jmp     sleep

bad:    movb    $'X', %al
        movw    $COM1, %dx
        outb    %al, %dx
        cli
halt:   hlt
        jmp     halt

tick:   pushl   %eax
        movb    $0x20, %al              # end of interrupt
        outb    %al, $0x20
        popl    %eax
        iret

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9a000000ffff      # 8: code, 16: data, both flat 4 GiB
        .quad   0x00cf92000000ffff
gdt_register:
        .word   . - gdt - 1
        .long   gdt
idt_register:
        .word   9 * 8 - 1
        .long   IDT

        .org    510
        .word   0xaa55
