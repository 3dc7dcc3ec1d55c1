# A disk that boots, for a virtual machine: reads its second sector by the BIOS, prints the
# text that is there on the first serial port, writes that sector to the third one, and ends the
# machine by isa-debug-exit, with the status 1 that QEMU makes of 0. After an error: 3.
	.code16
	.globl _start
_start:
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7c00, %sp
	movw $0x0201, %ax	# read one sector ...
	movw $0x7e00, %bx
	movw $0x0002, %cx	# ... the second one of cylinder 0, head 0
	xorb %dh, %dh		# of the disk in %dl
	int $0x13
	jc failed
	movw $0x0301, %ax
	movw $0x0003, %cx
	int $0x13
	jc failed
	movw $0x7e00, %si
	movw $0x3f8, %dx
next:
	lodsb
	testb %al, %al
	jz done
	outb %al, %dx
	jmp next
failed:
	movb $1, %al
done:
	movw $0xf4, %dx
	outb %al, %dx
	hlt
	.org 510
	.word 0xaa55
